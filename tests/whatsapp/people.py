"""The contacts: each device has keys of its own, opens what it is sent, and can answer."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from tests.whatsapp import ratchet
from tests.whatsapp.keys import KeyPair
from tests.whatsapp.nodes import Node, data, node
from tests.whatsapp.protobufs import proto
from tests.whatsapp.ratchet import Bundle, Session, Undecryptable
from tests.whatsapp.senderkeys import SenderKeys

CURVE_TYPE = b"\x05"
REGISTRATION = (4711).to_bytes(4, "big")
PREKEY_ID = ratchet.NUMBER.to_bytes(3, "big")


class Device:
    """One device of a contact, or the phone of the account itself, whose identity is the account's."""

    def __init__(self, jid: str, identity: KeyPair | None = None) -> None:
        self.jid = jid
        own, signed, once = _keys(jid)
        self._bundle = Bundle(identity=identity or own, signed=signed, once=once)
        self._sessions: dict[bytes, Session] = {}
        self._latest: Session | None = None
        self._keys = SenderKeys()

    def bundle(self) -> Node:
        """The answer for this device in an answer to a query for prekeys."""
        identity, signed, once = self._bundle.identity, self._bundle.signed, self._bundle.once
        return node(
            "user",
            data("registration", REGISTRATION),
            data("type", CURVE_TYPE),
            data("identity", identity.public),
            node(
                "skey",
                data("id", PREKEY_ID),
                data("value", signed.public),
                data("signature", identity.sign(CURVE_TYPE + signed.public)),
            ),
            node("key", data("id", PREKEY_ID), data("value", once.public)),
            jid=self.jid,
        )

    def receive(self, kind: str, ciphertext: bytes, to_all: bytes) -> Any:
        """The message that a status brings: its key from the pairwise part, its text from the part for all.

        Raises:
            Undecryptable: it is not for this device.
        """
        handed = self._open(kind, ciphertext).senderKeyDistributionMessage
        if not handed.axolotlSenderKeyDistributionMessage:
            raise Undecryptable("no sender key was handed over")
        self._keys.take(handed.axolotlSenderKeyDistributionMessage)
        return proto.Message.FromString(unpad(self._keys.open(to_all)))

    def answer(self, text: str) -> bytes:
        """A message back to whom the last message came from, of type `msg`."""
        if self._latest is None:
            raise Undecryptable("nothing came yet")
        return self._latest.seal(pad(proto.Message(conversation=text).SerializeToString()))

    def _open(self, kind: str, ciphertext: bytes) -> Any:
        if kind == "pkmsg":
            base = ratchet.base_of(ciphertext)
            if base not in self._sessions:
                self._sessions[base], _ = ratchet.start(self._bundle, ciphertext)
            self._latest = self._sessions[base]
            ciphertext = ratchet.inner_of(ciphertext)
        if self._latest is None:
            raise Undecryptable("no session was started")
        return proto.Message.FromString(unpad(self._latest.open(ciphertext)))


def pad(content: bytes) -> bytes:
    return content + b"\x01"


def unpad(padded: bytes) -> bytes:
    """Padding of WhatsApp's own: its last byte is its length."""
    return padded[: -padded[-1]]


@lru_cache(maxsize=10_000)  # the same people are in many tests
def _keys(jid: str) -> tuple[KeyPair, KeyPair, KeyPair]:
    identity, signed, once = (KeyPair(_seed(jid, use)) for use in ("identity", "signed", "once"))
    return identity, signed, once


def _seed(jid: str, use: str) -> bytes:
    return hashlib.sha256(f"{use} of {jid}".encode()).digest()
