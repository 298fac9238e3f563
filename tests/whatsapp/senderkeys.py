"""Sender keys of the Signal protocol: one ciphertext for everybody who was handed the key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tests.whatsapp.keys import derive, verify
from tests.whatsapp.protobufs import proto
from tests.whatsapp.ratchet import Chain, Undecryptable, decrypt_cbc

SIGNATURE = 64


@dataclass
class SenderKey:
    """A chain that one sender handed to one device."""

    signing: bytes
    chain: Chain


class SenderKeys:
    """The chains that one device was handed, by their numbers."""

    def __init__(self) -> None:
        self._keys: dict[int, SenderKey] = {}

    def take(self, distribution: bytes) -> None:
        """Keep a chain that was handed over. One that is known goes on from where it stands."""
        handed = proto.SenderKeyDistributionMessage.FromString(distribution[1:])
        known = self._keys.get(handed.id)
        if known is None or known.chain.index < handed.iteration:
            self._keys[handed.id] = SenderKey(handed.signingKey[1:], Chain(handed.chainKey, handed.iteration))

    def open(self, message: bytes) -> bytes:
        """The plaintext of a message to all."""
        signed, signature = message[:-SIGNATURE], message[-SIGNATURE:]
        parsed = proto.SenderKeyMessage.FromString(signed[1:])
        if parsed.id not in self._keys:
            raise Undecryptable("the sender key was not handed over")
        key = self._keys[parsed.id]
        if not _verified(key.signing, signed, signature):
            raise Undecryptable("the signature is not the sender's")
        return _opened(key.chain.at(parsed.iteration), parsed.ciphertext)


@lru_cache(maxsize=64)
def _verified(key: bytes, signed: bytes, signature: bytes) -> bool:
    """The same for all recipients of a message, so it is reckoned once."""
    return verify(key, signed, signature)


@lru_cache(maxsize=64)
def _opened(seed: bytes, ciphertext: bytes) -> bytes:
    keys = derive(seed, 48, salt=b"\x00" * 32, info=b"WhisperGroup")
    return decrypt_cbc(keys[16:48], keys[:16], ciphertext)
