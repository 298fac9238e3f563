"""A client of neonize that does what it is told, one JSON line each, and tells what it sees.

It stands in for a program that uses neonize: tests of the server drive it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from google.protobuf.json_format import MessageToDict
from neonize.client import NewClient
from neonize.events import EVENT_TO_INT
from neonize.proto.Neonize_pb2 import ContactEntry
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import ImageMessage, Message
from neonize.utils.enum import MediaType
from neonize.utils.jid import build_jid
from neonize.utils.log import _log_queue
from neonize.utils.log import log as library_log

STATUS = build_jid("status", "broadcast")


class Driver:
    """One client, and the line to the test."""

    def __init__(self, line: TextIO, name: str) -> None:
        self._line = line
        self._lock = threading.Lock()
        self.client = NewClient(name, uuid=name)
        self.client.qr(lambda _client, code: self.tell(event="QRCode", code=code.decode()))
        for kind in EVENT_TO_INT:
            if kind.__name__ not in ("Device", "QR"):
                self.client.event(kind)(self._on_event)

    def tell(self, **what: object) -> None:
        """One line to the test."""
        with self._lock:
            self._line.write(json.dumps(what, default=str) + "\n")
            self._line.flush()

    def obey(self, given: dict[str, Any]) -> None:
        """Carry an order out on a thread of its own, and tell what came of it."""
        threading.Thread(target=self._carry_out, args=(given,), daemon=True).start()

    def _carry_out(self, given: dict[str, Any]) -> None:
        number, do = given.pop("number"), given.pop("do")
        try:
            answer = ORDERS[do](self, **given)
        except Exception as error:
            self.tell(number=number, error=f"{type(error).__name__}: {error}")
        else:
            self.tell(number=number, answer=answer)

    def _on_event(self, _client: NewClient, event: Any) -> None:
        self.tell(event=type(event).__name__, **MessageToDict(event))


class ToTest(logging.Handler):
    """Passes what the library logs to the test."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def emit(self, record: logging.LogRecord) -> None:
        self._driver.tell(log=record.getMessage(), level=record.levelname, logger=record.name)


Order = Callable[..., object]
ORDERS: dict[str, Order] = {}


def order(carry_out: Order) -> Order:
    """An order is known by its function's name."""
    ORDERS[carry_out.__name__] = carry_out
    return carry_out


@order
def connect(driver: Driver) -> None:
    """Connect, and stay until stopped."""
    driver.client.connect()


@order
def contacts(driver: Driver, names: dict[str, str]) -> None:
    """Name contacts; an empty name takes somebody out of the audience."""
    entries = [
        ContactEntry(JID=build_jid(phone), FirstName=name, FullName=name) for phone, name in names.items()
    ]
    driver.client.contact.put_all_contact_name(entries)


@order
def status(driver: Driver, text: str) -> str:
    """Post a text; answers with its message id."""
    return str(driver.client.send_message(STATUS, text).ID)


@order
def logged(driver: Driver) -> None:
    """Wait until everything that was logged so far has been told."""
    _log_queue.join()  # there is no public way to know


@order
def pair_phone(driver: Driver, phone: str) -> str:
    """Ask for a code to type; answers with it."""
    return str(driver.client.PairPhone(phone, show_push_notification=False))


@order
def is_connected(driver: Driver) -> bool:
    return bool(driver.client.is_connected)


@order
def is_logged_in(driver: Driver) -> bool:
    return bool(driver.client.is_logged_in)


@order
def level(driver: Driver, name: str) -> None:
    """From which level on the library logs; told before it connects."""
    library_log.setLevel(name)
    logging.getLogger().setLevel(name)


@order
def stop(driver: Driver) -> None:
    driver.client.stop()


@order
def disconnect(driver: Driver) -> None:
    driver.client.disconnect()


@order
def image(driver: Driver, content: str, caption: str) -> str:
    """Upload a picture (hex) and post it; answers with the message id."""
    data = bytes.fromhex(content)
    stored = driver.client.upload(data, MediaType.MediaImage)
    picture = ImageMessage(
        URL=stored.url,
        directPath=stored.DirectPath,
        mediaKey=stored.MediaKey,
        fileEncSHA256=stored.FileEncSHA256,
        fileSHA256=stored.FileSHA256,
        fileLength=len(data),
        mimetype="image/png",
        caption=caption,
    )
    return str(driver.client.send_message(STATUS, Message(imageMessage=picture)).ID)


def main() -> None:
    _, name = sys.argv
    # The library prints on the standard output, so the test's line is another descriptor.
    line = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    driver = Driver(line, name)
    logging.getLogger().handlers[:] = [ToTest(driver)]
    library_log.setLevel(logging.WARNING)
    for text in sys.stdin:
        driver.obey(json.loads(text))
    driver.client.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
