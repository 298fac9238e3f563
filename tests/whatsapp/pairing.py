"""The phone's side of linking a device: by the QR code that it scans, or by the code that somebody types into it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import b64decode
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.whatsapp.keys import KeyPair, derive
from tests.whatsapp.nodes import FROM_SERVER, SERVER, Node, child, data, node
from tests.whatsapp.protobufs import proto

SIGNATURE_OF_ACCOUNT = b"\x06\x00"
SALT, IV, NONCE, KEY = 32, 16, 12, 32
ROUNDS = 2 << 16


@dataclass
class Account:
    """A WhatsApp account on a phone, with the devices linked to it (by number: the key each logs in with)."""

    phone: str
    key: KeyPair = field(default_factory=KeyPair)
    devices: dict[int, bytes] = field(default_factory=dict)

    @property
    def jid(self) -> str:
        return f"{self.phone}@{SERVER}"

    def address(self, device: int) -> str:
        return f"{self.phone}:{device}@{SERVER}"

    def lid(self, device: int) -> str:
        """The account's hidden address."""
        return f"{self.phone[::-1]}1:{device}@lid"

    def link(self, key: bytes) -> int:
        """The number of a device that was not linked before."""
        device = max(self.devices, default=0) + 1
        self.devices[device] = key
        return device


@dataclass(frozen=True)
class QR:
    """What a QR code holds."""

    ref: str
    identity: bytes
    secret: bytes


def read_qr(code: str) -> QR:
    """What the phone's camera makes of a code."""
    ref, _noise, identity, secret, _kind = code.partition("#")[2].split(",")
    return QR(ref, b64decode(identity), b64decode(secret))


def pair_device(refs: list[str]) -> Node:
    """What a client that is not linked yet is asked to show."""
    wanted = node("pair-device", *(data("ref", ref.encode()) for ref in refs))
    return node("iq", wanted, from_=FROM_SERVER, id=secrets.token_hex(4), type="set", xmlns="md")


def pair_success(account: Account, device: int, identity: bytes, secret: bytes) -> Node:
    """What a client hears once its owner has let it in."""
    details = proto.ADVDeviceIdentity(
        rawId=secrets.randbits(31), timestamp=int(time.time()), keyIndex=device
    ).SerializeToString()
    signed = proto.ADVSignedDeviceIdentity(
        details=details,
        accountSignatureKey=account.key.public,
        accountSignature=account.key.sign(SIGNATURE_OF_ACCOUNT + details + identity),
    ).SerializeToString()
    box = proto.ADVSignedDeviceIdentityHMAC(
        details=signed, hmac=hmac.digest(secret, signed, hashlib.sha256)
    ).SerializeToString()
    success = node(
        "pair-success",
        data("device-identity", box),
        node("biz", name="A shop"),
        node("platform", name="android"),
        node("device", jid=account.address(device), lid=account.lid(device)),
    )
    now = str(int(time.time()))
    return node("iq", success, from_=FROM_SERVER, id=secrets.token_hex(4), type="set", xmlns="md", t=now)


class LinkByCode:
    """A pairing by code: the two ephemeral keys travel wrapped in a key made of the eight letters."""

    def __init__(self, hello: Node) -> None:
        self.ref = secrets.token_hex(8).encode()
        self._wrapped = _content(hello, "link_code_pairing_wrapped_companion_ephemeral_pub")
        self._mine = KeyPair()
        self._shared = b""

    def accepted(self) -> Node:
        """The answer to the client, which shows its code now."""
        return node("link_code_companion_reg", data("link_code_pairing_ref", self.ref))

    def typed(self, code: str, account: Account) -> Node:
        """What the phone sends once the code was typed into it."""
        letters = code.replace("-", "").encode()
        salt, iv, sealed = _cut(self._wrapped, SALT, IV)
        self._shared = self._mine.agree(_wrap(letters, salt, iv, sealed))
        salt, iv = secrets.token_bytes(SALT), secrets.token_bytes(IV)
        hello = node(
            "link_code_companion_reg",
            data(
                "link_code_pairing_wrapped_primary_ephemeral_pub",
                salt + iv + _wrap(letters, salt, iv, self._mine.public),
            ),
            data("primary_identity_pub", account.key.public),
            data("link_code_pairing_ref", self.ref),
            stage="primary_hello",
        )
        return node(
            "notification", hello, from_=FROM_SERVER, id=secrets.token_hex(4), type="link_code_companion_reg"
        )

    def finished(self, finish: Node, account: Account) -> tuple[bytes, bytes]:
        """The client's identity and the secret of this pairing.

        Raises:
            cryptography.exceptions.InvalidTag: the code was another one.
        """
        salt, nonce, sealed = _cut(_content(finish, "link_code_pairing_wrapped_key_bundle"), SALT, NONCE)
        key = derive(self._shared, KEY, salt=salt, info=b"link_code_pairing_key_bundle_encryption_key")
        identity, _primary, random = _cut(AESGCM(key).decrypt(nonce, sealed, None), KEY, KEY)
        secret = self._shared + account.key.agree(identity) + random
        return identity, derive(secret, KEY, info=b"adv_secret")


def _wrap(letters: bytes, salt: bytes, iv: bytes, content: bytes) -> bytes:
    """Wraps and unwraps: the cipher is a stream."""
    key = hashlib.pbkdf2_hmac("sha256", letters, salt, ROUNDS, KEY)
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(content)


def _cut(content: bytes, first: int, second: int) -> tuple[bytes, bytes, bytes]:
    return content[:first], content[first : first + second], content[first + second :]


def _content(parent: Node, tag: str) -> bytes:
    found = child(parent, tag)
    assert found is not None, tag
    assert isinstance(found.content, bytes), tag
    return found.content
