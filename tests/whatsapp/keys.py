"""Curve25519 keys that agree and sign, as WhatsApp uses them: one secret for X25519 and for XEd25519 signatures."""

from __future__ import annotations

import hashlib
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FIELD = 2**255 - 19
SIGN = 0x80


class KeyPair:
    """A secret made of a seed (random if none is given) with its public half in Montgomery form."""

    def __init__(self, seed: bytes | None = None) -> None:
        seed = seed or secrets.token_bytes(32)
        self._signing = Ed25519PrivateKey.from_private_bytes(seed)
        # The scalar of an Ed25519 key is the clamped half of this hash, and X25519 clamps by itself.
        self._agreeing = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
        self.public = self._agreeing.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """The secret shared with the holder of another key."""
        return self._agreeing.exchange(X25519PublicKey.from_public_bytes(public))

    def sign(self, message: bytes) -> bytes:
        """A signature that names the sign of the Edwards point, which the Montgomery form leaves out."""
        signature = bytearray(self._signing.sign(message))
        signature[63] |= self._signing.public_key().public_bytes_raw()[31] & SIGN
        return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of a Montgomery public key signed this."""
    u = int.from_bytes(public, "little")
    y = bytearray((((u - 1) * pow(u + 1, -1, FIELD)) % FIELD).to_bytes(32, "little"))
    y[31] |= signature[63] & SIGN
    plain = signature[:63] + bytes([signature[63] & ~SIGN & 0xFF])
    try:
        Ed25519PublicKey.from_public_bytes(bytes(y)).verify(plain, message)
    except InvalidSignature:
        return False
    return True


def derive(secret: bytes, length: int, *, salt: bytes | None = None, info: bytes = b"") -> bytes:
    """HKDF with SHA-256; without a salt, with zeros."""
    return HKDF(SHA256(), length, salt, info).derive(secret)
