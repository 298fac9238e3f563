"""The receiving side of the Signal protocol: what one device and one sender share, by X3DH and double ratchet."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests.whatsapp.keys import KeyPair, derive
from tests.whatsapp.protobufs import proto

VERSION = b"\x33"
CURVE = b"\x05"
MAC = 8
ZEROS = b"\x00" * 32
NUMBER = 1
"""Of each device's signed prekey, and of its one-time prekey."""


class Undecryptable(Exception):
    """A ciphertext that was not made for this device, or was tampered with, or came twice."""


@dataclass(frozen=True)
class Bundle:
    """The keys of a device that others start sessions with."""

    identity: KeyPair
    signed: KeyPair
    once: KeyPair


@dataclass
class Chain:
    """One chain of message keys, with those that were skipped."""

    key: bytes
    index: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)

    def next(self) -> bytes:
        seed = _hmac(self.key, b"\x01")
        self.key = _hmac(self.key, b"\x02")
        self.index += 1
        return seed

    def at(self, index: int) -> bytes:
        """The seed of one message. Each is given once."""
        while self.index <= index:
            at = self.index
            self.skipped[at] = self.next()
        if index not in self.skipped:
            raise Undecryptable(f"message {index} came before")
        return self.skipped.pop(index)


@dataclass
class Session:
    """What one device and one sender share."""

    mine: bytes
    theirs: bytes
    root: bytes
    ratchet: KeyPair
    receiving: dict[bytes, Chain] = field(default_factory=dict)
    sending: Chain | None = None

    def open(self, message: bytes) -> bytes:
        """The plaintext of a message of this session."""
        signed, mac = message[:-MAC], message[-MAC:]
        parsed = proto.SignalMessage.FromString(signed[1:])
        chain = self._chain(parsed.ratchetKey)
        cipher_key, mac_key, iv = _message_keys(chain.at(parsed.counter))
        expected = _hmac(mac_key, CURVE + self.theirs + CURVE + self.mine + signed)[:MAC]
        if not hmac.compare_digest(expected, mac):
            raise Undecryptable("the MAC differs")
        return decrypt_cbc(cipher_key, iv, parsed.ciphertext)

    def seal(self, plaintext: bytes) -> bytes:
        """A message back to the sender; possible once something came."""
        if self.sending is None:
            raise Undecryptable("nothing came yet")
        index = self.sending.index
        cipher_key, mac_key, iv = _message_keys(self.sending.next())
        signed = (
            VERSION
            + proto.SignalMessage(
                ratchetKey=CURVE + self.ratchet.public,
                counter=index,
                previousCounter=0,
                ciphertext=encrypt_cbc(cipher_key, iv, plaintext),
            ).SerializeToString()
        )
        return bytes(signed + _hmac(mac_key, CURVE + self.mine + CURVE + self.theirs + signed)[:MAC])

    def _chain(self, ratchet: bytes) -> Chain:
        """The chain of the sender's ratchet key; a new key turns the ratchet on both sides."""
        if ratchet not in self.receiving:
            self.root, key = _turn(self.root, self.ratchet.agree(ratchet[1:]))
            self.receiving[ratchet] = Chain(key)
            self.ratchet = KeyPair()
            self.root, back = _turn(self.root, self.ratchet.agree(ratchet[1:]))
            self.sending = Chain(back)
        return self.receiving[ratchet]


def start(bundle: Bundle, message: bytes) -> tuple[Session, bytes]:
    """The session that a first message starts, and the message inside."""
    first = proto.PreKeySignalMessage.FromString(message[1:])
    if (first.signedPreKeyId, first.preKeyId) != (NUMBER, NUMBER):
        raise Undecryptable("it is made with other prekeys")
    theirs, base = first.identityKey[1:], first.baseKey[1:]
    secrets = (
        bundle.signed.agree(theirs)
        + bundle.identity.agree(base)
        + bundle.signed.agree(base)
        + bundle.once.agree(base)
    )
    root = derive(b"\xff" * 32 + secrets, 64, salt=ZEROS, info=b"WhisperText")[:32]
    return Session(bundle.identity.public, theirs, root, bundle.signed), first.message


def base_of(message: bytes) -> bytes:
    """What is the same in all first messages of one session."""
    return bytes(proto.PreKeySignalMessage.FromString(message[1:]).baseKey)


def inner_of(message: bytes) -> bytes:
    """The message inside a first message."""
    return bytes(proto.PreKeySignalMessage.FromString(message[1:]).message)


def decrypt_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def encrypt_cbc(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    padder = PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    return encryptor.update(padded) + encryptor.finalize()


def _turn(root: bytes, secret: bytes) -> tuple[bytes, bytes]:
    both = derive(secret, 64, salt=root, info=b"WhisperRatchet")
    return both[:32], both[32:]


def _message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    keys = derive(seed, 80, salt=ZEROS, info=b"WhisperMessageKeys")
    return keys[:32], keys[32:64], keys[64:]


def _hmac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)
