"""The authority that the patched client trusts, and the chain with which the server shows its key."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from tests.whatsapp.keys import KeyPair
from tests.whatsapp.protobufs import proto

AUTHORITY = KeyPair(hashlib.sha256(b"the authority of a WhatsApp for tests").digest())
"""Signs in place of WhatsApp. It is no secret: it is trusted by patched clients alone."""

ROOT, INTERMEDIATE, LEAF = 0, 1, 2
DAY = 24 * 3600


def chain(key: bytes) -> bytes:
    """The certificates of a server that holds this key, valid today."""
    intermediate = KeyPair()
    return bytes(
        proto.CertChain(
            intermediate=_certificate(INTERMEDIATE, intermediate.public, ROOT, AUTHORITY),
            leaf=_certificate(LEAF, key, INTERMEDIATE, intermediate),
        ).SerializeToString()
    )


def _certificate(serial: int, key: bytes, issuer: int, by: KeyPair) -> Any:
    now = int(time.time())
    details = proto.CertChain.NoiseCertificate.Details(
        serial=serial, issuerSerial=issuer, key=key, notBefore=now - DAY, notAfter=now + DAY
    ).SerializeToString()
    return proto.CertChain.NoiseCertificate(details=details, signature=by.sign(details))
