"""The process that hosts one session's client: it serves orders, one after the other, until the pipe ends.

A Go panic ends this process, and nothing but it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Event, Lock, Thread
from typing import Final

from stages.errors import EngineFailure, OutcomeUnknown, RateLimited, RecipientsRejected
from transports.neonize import posting
from transports.neonize.built import BuiltMessages
from transports.neonize.channel import Channel
from transports.neonize.client import Client, Heard, LibraryMissing, MakeClient
from transports.neonize.frames import (
    Begin,
    Hello,
    ListAudience,
    Listed,
    Order,
    Post,
    Posted,
    Refused,
    Standing,
    Unusable,
    Word,
)
from transports.neonize.logout import forgotten
from transports.neonize.mapping import in_words
from transports.neonize.media import media_of
from transports.neonize.pairing import pair
from transports.neonize.posting import Poster
from transports.neonize.staging import recover
from transports.neonize.standings import not_linked, standing_of
from transports.neonize.store import Store, StoreError, open_store

WAITING: Final = 64
"""Orders that wait for the one under way, at most; the worker sends one at a time."""
LAST_CALL: Final = 2.0
"""Seconds that a call under way gets to end when the worker is gone."""


def serve(channel: Channel, make: MakeClient) -> None:
    """Host what the first order names, until there is nothing more to do."""
    os.umask(0o077)  # what the library writes is for nobody else
    orders = channel.orders()
    begin = next(orders, None)
    if not isinstance(begin, Begin):
        return
    try:
        store = open_store(Path(begin.options.data), begin.session)
        client = make(store.database, channel.note)
        account = store.account()
    except StoreError as error:
        channel.write(Unusable(code=error.code, reason=str(error)))
        return
    except LibraryMissing as error:
        channel.write(Unusable(code="missing", reason=str(error)))
        return
    channel.write(Hello(abilities=client.abilities))
    if begin.pair:
        pair(channel, orders, client, phone=begin.phone, account=account)
    elif account is None:
        store.close()  # for whoever links it now
        channel.write(not_linked(begin.session))
    else:
        Hosting(channel, begin, client, store, account).run(orders)


class Hosting:
    """Serves a linked session. Orders are carried out on the thread that runs it, so one at a time."""

    def __init__(self, channel: Channel, begin: Begin, client: Client, store: Store, account: str) -> None:
        self._channel = channel
        self._session = begin.session
        self._client = client
        self._standing: Standing | None = None
        self._settled = False
        self._logged_out = False
        self._lock = Lock()
        self._jobs: Queue[Order | Standing | None] = Queue(WAITING)
        options = begin.options
        built = BuiltMessages(
            lambda content: client.build(
                content, media_of(content, largest=options.max_media, timeout=options.media_timeout)
            ),
            time.monotonic,
        )
        self._poster = Poster(client, account, options.targeting, store.journal, built.of, channel.note)

    def run(self, orders: Iterator[Order]) -> None:
        """Serve until the pipe ends, or the client has nothing more to do."""
        ended = Event()
        Thread(target=self._read, args=(orders, ended), daemon=True).start()
        Thread(target=self._connect, daemon=True).start()
        while (job := self._jobs.get()) is not None:
            self._do(job)
        if self._logged_out:
            forgotten(self._client, LAST_CALL)
        self._client.stop()
        ended.set()

    def _read(self, orders: Iterator[Order], ended: Event) -> None:
        for order in orders:
            self._jobs.put(order)
        self._jobs.put(None)
        if not ended.wait(LAST_CALL):
            os._exit(0)  # a call of the library cannot be interrupted

    def _connect(self) -> None:
        try:
            self._client.run(self._heard)
            reason = "the client ended"
        except Exception as error:  # nobody else hears of what ends this thread
            reason = f"the client cannot connect: {in_words(error)}"
        self._stand(Standing(state="unavailable", reason=reason, over=True))

    def _heard(self, heard: Heard) -> None:
        """From a thread of the library's."""
        self._logged_out = self._logged_out or heard.name == "LoggedOut"
        standing = standing_of(heard, self._session, time.time())
        if standing is not None:
            self._stand(standing)

    def _stand(self, standing: Standing) -> None:
        with self._lock:
            if self._standing and self._standing.over:
                return  # what ended it is not covered up by what follows from that
            self._standing = standing
            if standing.state == "ready" and not self._settled:
                self._jobs.put(standing)  # first what a crash left in the contact list
            else:
                self._channel.write(standing)
            if standing.over:
                self._jobs.put(None)

    def _do(self, job: Order | Standing) -> None:
        match job:
            case Post():
                self._channel.write(self._post(job))
            case ListAudience():
                self._channel.write(self._list(job))
            case Standing():
                self._settle()
            case _:
                pass

    def _settle(self) -> None:
        poster = self._poster
        try:
            recover(poster.client, poster.journal, poster.account, poster.note)
        except Exception as error:  # what keeps it from being put back may be gone at the next start
            self._stand(Standing(state="unavailable", reason=in_words(error), over=True))
            return
        with self._lock:
            self._settled = True
            if self._standing:
                self._channel.write(self._standing)

    def _post(self, order: Post) -> Word:
        try:
            message_id, failed = posting.post(self._poster, order)
        except EngineFailure as failure:
            return _refused(order.call, failure)
        except Exception as error:  # a fault of ours: it ends this call, and not the process
            return _refused(order.call, OutcomeUnknown(in_words(error)))
        return Posted(call=order.call, message_id=message_id, failed=failed)

    def _list(self, order: ListAudience) -> Word:
        try:
            return Listed(call=order.call, recipients=posting.audience(self._poster))
        except EngineFailure as failure:
            return _refused(order.call, failure)


def _refused(call: int, failure: EngineFailure) -> Refused:
    return Refused(
        call=call,
        kind=failure.kind,
        message=str(failure),
        retry_after=failure.retry_after if isinstance(failure, RateLimited) else None,
        rejected=failure.rejected if isinstance(failure, RecipientsRejected) else {},
    )
