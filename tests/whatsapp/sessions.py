"""One client's connection, from its handshake to its end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from websockets.exceptions import ConnectionClosed

from tests.whatsapp import answers
from tests.whatsapp.faults import Fault, Hangup, LoginFailure, Refused, Silence, Slow, Stream
from tests.whatsapp.ledger import as_post
from tests.whatsapp.nodes import FROM_SERVER, Node, child, children, data, decode, encode, error, node, result
from tests.whatsapp.noise import Channel
from tests.whatsapp.pairing import Account, LinkByCode, pair_device, pair_success
from tests.whatsapp.world import World

REFS = 6
LOGGED_OUT = LoginFailure(401)
LAST = "last"
PATIENCE = 2.0
"""Seconds after which a client that does not take in the last words is cut off all the same."""


class Ended(Exception):
    """The server breaks this connection off."""


class Connection:
    """One client that is connected."""

    def __init__(self, world: World, channel: Channel, nursery: trio.Nursery) -> None:
        self.world = world
        self.refs = [secrets.token_hex(8) for _ in range(REFS)]
        self.link: LinkByCode | None = None
        self.account: Account | None = None
        self.device = 0
        self._channel = channel
        self._nursery = nursery
        self._pairs_by_code: tuple[Account, LinkByCode] | None = None

    @property
    def jid(self) -> str:
        """The address of the device that logged in; empty before."""
        return self.account.address(self.device) if self.account else ""

    @property
    def phone(self) -> str:
        """The number of the account that logged in; empty before."""
        return self.account.phone if self.account else ""

    async def send(self, what: Node) -> None:
        await self._channel.send(encode(what))

    def hang_up(self) -> None:
        """Break the connection off, as it is."""
        self._nursery.cancel_scope.cancel()

    async def serve(self) -> None:
        """Log in or pair, then answer until one side ends it."""
        hello = self._channel.hello
        if hello.HasField("devicePairingData"):
            await self.send(pair_device(self.refs))
        else:
            await self._log_in(str(hello.username), hello.device)
        while True:
            raw = await self._channel.receive()
            await self._hear(decode(raw), len(raw))

    async def let_in(self, account: Account, identity: bytes, secret: bytes) -> None:
        """The owner has linked this client: it is told so, and comes back to log in."""
        device = account.link(self._channel.key)
        await self.send(pair_success(account, device, identity, secret))

    async def type_code(self, code: str, account: Account) -> None:
        """The owner typed the client's code into the phone."""
        assert self.link is not None, "no code was asked for"
        self._pairs_by_code = (account, self.link)
        await self.send(self.link.typed(code, account))

    async def pass_on(self, sender: str, ciphertext: bytes) -> None:
        """A message of a contact to this client."""
        enc = data("enc", ciphertext, v="2", type="msg")
        name = {"from": sender, "id": secrets.token_hex(8).upper(), "t": _now(), "notify": "Somebody"}
        await self.send(node("message", enc, type="text", **name))

    async def end_stream(self, fault: Stream) -> None:
        """A stream error, and the end."""
        conflict = [node("conflict", type=fault.conflict)] if fault.conflict else []
        code = {"code": fault.code} if fault.code else {}
        await self._say_last(node("stream:error", *conflict, **code))

    async def _say_last(self, words: Node) -> None:
        """Say something, and end once the client has taken it in: one that is cut off at once may miss it."""
        self.account = None
        await self.send(words)
        await self.send(node("notification", id=LAST, from_=FROM_SERVER, type="server", t=_now()))
        self._nursery.start_soon(self._end_at_last)

    async def _end_at_last(self) -> None:
        await trio.sleep(PATIENCE)
        self.hang_up()

    async def _log_in(self, phone: str, device: int) -> None:
        account = self.world.accounts.get(phone)
        known = account is not None and account.devices.get(device) == self._channel.key
        fault = self.world.faults.meet("login") or (None if known else LOGGED_OUT)

        async def refuse(refused: Refused) -> None:
            await self._suffer(LoginFailure(refused.code), refuse)

        async def reply() -> None:
            assert account is not None
            self.account, self.device = account, device
            await self.send(node("success", t=_now(), lid=account.lid(device)))

        await self._with(fault, refuse, reply)

    async def _hear(self, said: Node, size: int) -> None:
        match said.tag:
            case "ack" if said.attrs.get("id") == LAST:
                raise Ended
            case "iq" if said.attrs.get("type") in ("get", "set") and self._may_ask(said):
                await self._answer(said)
            case "iq" if child(said, "pair-device-sign") is not None:
                # The client leaves by itself; to close as well would race with its coming back.
                await self.send(node("stream:error", code="515"))
            case "receipt":
                await self.world.ledger.add_receipt()
            case "message" if self.account:
                await self._take(said, size)

    def _may_ask(self, query: Node) -> bool:
        """Nobody is heard before the login, but for pairing."""
        return self.account is not None or query.attrs["xmlns"] == "md"

    async def _answer(self, query: Node) -> None:
        if query.attrs["xmlns"] == "md":
            await self._link_by_code(query)
            return
        point, answer = answers.find(query)
        if answer is None:
            self.world.ledger.unknown.append(query)
            await self.send(error(query, 501, "feature-not-implemented"))
            return
        fault = self.world.faults.meet(point) if point else None

        async def refuse(refused: Refused) -> None:
            await self.send(error(query, refused.code, refused.text))

        async def reply() -> None:
            assert answer is not None
            await self.send(result(query, answer(self.world, query)))

        await self._with(fault, refuse, reply)

    async def _take(self, message: Node, size: int) -> None:
        fault = self.world.faults.meet("send")
        await self.world.ledger.add(as_post(message, self.jid, size, delivers(fault)))
        attributes = {"class": "message", "id": message.attrs["id"], "from": message.attrs["to"], "t": _now()}

        async def refuse(refused: Refused) -> None:
            await self.send(node("ack", **attributes, error=str(refused.code)))

        async def reply() -> None:
            await self.send(node("ack", **attributes))

        await self._with(fault, refuse, reply)

    async def _with(
        self,
        fault: Fault | None,
        refuse: Callable[[Refused], Awaitable[None]],
        reply: Callable[[], Awaitable[None]],
    ) -> None:
        """Do what the script says, or reply."""
        if isinstance(fault, Slow):
            self._nursery.start_soon(self._later, fault.gate, reply)
            return
        await self._suffer(fault, refuse)
        if fault is None:
            await reply()

    async def _later(self, gate: trio.Event, reply: Callable[[], Awaitable[None]]) -> None:
        await gate.wait()
        with suppress(ConnectionClosed):
            await reply()

    async def _suffer(self, fault: Fault | None, refuse: Callable[[Refused], Awaitable[None]]) -> None:
        match fault:
            case Refused():
                await refuse(fault)
            case Hangup():
                raise Ended
            case LoginFailure():
                await self._say_last(node("failure", reason=str(fault.reason), **dict(fault.attributes)))
            case Stream():
                await self.end_stream(fault)

    async def _link_by_code(self, query: Node) -> None:
        registration = children(query)[0]
        if registration.attrs.get("stage") == "companion_hello":
            self.link = LinkByCode(registration)
            await self.send(result(query, [self.link.accepted()]))
            return
        assert self._pairs_by_code is not None
        account, link = self._pairs_by_code
        await self.send(result(query))
        await self.let_in(account, *link.finished(registration, account))


def delivers(fault: Fault | None) -> bool:
    """Whether a message that meets this is passed on to its recipients."""
    match fault:
        case None | Slow():
            return True
        case Silence(delivered=delivered) | Hangup(delivered=delivered):
            return delivered
        case _:
            return False


def _now() -> str:
    return str(int(time.time()))
