"""Linking a session to an account, in the process that hosts the client."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread

from transports.neonize.channel import Channel
from transports.neonize.client import Client, ClientError, Heard
from transports.neonize.frames import Cleared, Linked, NotLinked, Order, Scan, TypeIn, Word
from transports.neonize.logout import forgotten
from transports.neonize.masking import masked

FORGETTING = 5.0
"""Seconds that the library gets to remove a device that WhatsApp has removed."""


def pair(
    channel: Channel, orders: Iterator[Order], client: Client, *, phone: str | None, account: str | None
) -> None:
    """Say what is to be scanned, or typed in on the phone with the number `phone`, until it was or the pipe ends.

    A session that is linked already is asked after first: its device may have been removed on the phone.
    """
    happened: SimpleQueue[Heard] = SimpleQueue()
    Thread(target=_connect, args=(client, happened), daemon=True).start()
    Thread(target=_until_gone, args=(orders, happened), daemon=True).start()
    words = _words(client, happened, phone) if account is None else _check(client, account, happened)
    for word in words:
        channel.write(word)
    client.stop()


def _check(client: Client, account: str, happened: SimpleQueue[Heard]) -> Iterator[Word]:
    while (heard := happened.get()).name != "Gone":
        if heard.name in {"Connected", "Failed"}:  # without a connection what the store says has to do
            yield Linked(jid=account, already=True)
            return
        if heard.name == "LoggedOut" and forgotten(client, FORGETTING):
            yield Cleared()
            return
        if heard.name in _REASONS:
            yield NotLinked(reason=_REASONS[heard.name] + masked(heard.detail))
            return


def _words(client: Client, happened: SimpleQueue[Heard], phone: str | None) -> Iterator[Word]:
    linked, asked = "", False
    while (heard := happened.get()).name != "Gone":
        if heard.name in _REASONS:
            yield NotLinked(reason=_REASONS[heard.name] + masked(heard.detail))
            return
        if heard.name == "Connected" and linked:
            yield Linked(jid=linked)
            return
        if heard.name == "PairStatus":
            linked = heard.detail
        elif heard.name == "TypeIn":
            yield TypeIn(code=heard.detail)
        elif heard.name == "Scan" and phone is None:
            yield Scan(code=heard.detail)
        elif heard.name == "Scan" and not asked:
            # The first reference says that WhatsApp listens; before it a code is refused.
            asked = True
            Thread(target=_ask_code, args=(client, phone, happened), daemon=True).start()


_REASONS = {
    "Failed": "",
    "PairError": "the phone and WhatsApp did not agree: ",
    "LoggedOut": "WhatsApp logged the new device out: ",
    "ClientOutdated": "WhatsApp no longer accepts the installed neonize: pip install --upgrade neonize",
    "ConnectFailure": "WhatsApp refused the connection: ",
    "TemporaryBan": "WhatsApp has banned the account for a time: ",
}


def _connect(client: Client, happened: SimpleQueue[Heard]) -> None:
    try:
        client.run(happened.put)
    except ClientError as error:
        happened.put(Heard("Failed", str(error)))
    else:
        happened.put(Heard("Failed", "the client ended"))


def _ask_code(client: Client, phone: str, happened: SimpleQueue[Heard]) -> None:
    try:
        happened.put(Heard("TypeIn", client.pairing_code(phone)))
    except ClientError as error:
        happened.put(Heard("Failed", str(error)))


def _until_gone(orders: Iterator[Order], happened: SimpleQueue[Heard]) -> None:
    for _ in orders:
        pass
    happened.put(Heard("Gone"))
