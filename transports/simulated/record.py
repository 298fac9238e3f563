"""A record of what simulated engines did, in a file that outlives the processes they ran in.

A call is two lines of JSON: one when it begins and one when it ends, the latter written before its caller knows. So
a process that is killed in between leaves a call that began and never ended: who it reached is unknown, as with a
real WhatsApp. Several processes may write to one file. Recipients are whole phone numbers; runs of consecutive ones
are written as `first..last@domain`.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex

import msgspec
from msgspec import Struct

from stages.errors import EngineFailure, OutcomeUnknown, Unavailable

Clock = Callable[[], float]
"""The wall clock, in seconds since 1970: the one clock that processes share."""

_UNSURE = frozenset({"cancelled", "sent", "outcome-unknown"})
_NUMBERED = re.compile(r"([1-9][0-9]*)@(.+)")
_RUN = re.compile(r"([0-9]+)\.\.([0-9]+)@(.+)")


class Began(Struct, frozen=True, kw_only=True, tag="began", tag_field="event"):
    """The line of a call that begins."""

    call: str
    pid: int
    at: float
    session: str
    message_id: str
    to: list[str]


class Ended(Struct, frozen=True, kw_only=True, tag="ended", tag_field="event"):
    """The line of a call that has ended: `outcome` is `sent`, `cancelled` or the kind of the failure."""

    call: str
    at: float
    outcome: str
    reached: list[str]


class Recording(Struct, frozen=True, kw_only=True):
    """Where the engine of one session writes its calls."""

    path: Path
    session: str
    clock: Clock

    def begin(self, message_id: str, recipients: Sequence[str]) -> str:
        """A call begins; returns its name. Raises `Unavailable` if that cannot be written: nothing is sent then."""
        call, at = token_hex(6), self.clock()  # before a long list is packed: that is part of the call
        to = packed(recipients)
        began = Began(call=call, pid=os.getpid(), at=at, session=self.session, message_id=message_id, to=to)
        self._append(began, Unavailable)
        return call

    def end(self, call: str, outcome: str, reached: Iterable[str]) -> None:
        """A call has ended. Raises `OutcomeUnknown` if that cannot be written."""
        told = packed(reached)
        ended = Ended(call=call, at=self.clock(), outcome=outcome, reached=told)
        self._append(ended, OutcomeUnknown)

    def _append(self, line: Began | Ended, failure: type[EngineFailure]) -> None:
        try:
            append(self.path, msgspec.json.encode(line))
        except OSError as error:
            raise failure(f"the record {self.path} cannot be written: {error.strerror}") from error


def append(path: Path, line: bytes) -> None:
    """Write one line in one go, whoever else writes to the file. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The line break comes first: what a process wrote that was killed in the middle of it spoils no other line.
        os.write(descriptor, b"\n" + line)
    finally:
        os.close(descriptor)


class RecordedCall(Struct, frozen=True, kw_only=True):
    """One call; `ended` and `outcome` are None if its process was killed, or has it under way."""

    pid: int
    session: str
    message_id: str
    began: float
    recipients: Sequence[str]
    ended: float | None = None
    outcome: str | None = None
    reached: frozenset[str] = frozenset()

    @property
    def is_cut(self) -> bool:
        """It has no end: it reached all of its recipients, or none."""
        return self.ended is None

    @property
    def may_have_sent(self) -> bool:
        """Whether whoever called could not be sure that nobody got it."""
        return self.outcome is None or self.outcome in _UNSURE


class Record(Struct, frozen=True):
    """All calls in the order in which they began, of all sessions and processes."""

    calls: Sequence[RecordedCall]

    def of(self, session: str) -> Record:
        """The calls of one session."""
        return Record([call for call in self.calls if call.session == session])

    def seen(self) -> dict[str, set[str]]:
        """Recipient to the message ids that it surely saw. A phone shows each of them once, however often it comes."""
        return _by_recipient((call.message_id, call.reached) for call in self.calls)

    def perhaps_seen(self) -> dict[str, set[str]]:
        """Recipient to the message ids that it saw, or may have seen by a call that was cut."""
        return _by_recipient(
            (call.message_id, call.recipients if call.is_cut else call.reached) for call in self.calls
        )

    def times_sent(self) -> Counter[str]:
        """How often each recipient was sent to, calls that failed for certain left out."""
        return Counter(jid for call in self.calls if call.may_have_sent for jid in call.recipients)


def read_record(path: Path) -> Record:
    """The record in `path`, empty if there is none yet. May be read while it is being written."""
    began, ended = read_ends(path)
    return Record([_call(first, ended.get(name)) for name, first in began.items()])


def read_ends(path: Path) -> tuple[dict[str, Began], dict[str, Ended]]:
    """The lines as they are, by the names of their calls: cheap enough to be read again and again."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    decoded = [found for line in lines if (found := _decoded(line))]
    began = {line.call: line for line in decoded if isinstance(line, Began)}
    return began, {line.call: line for line in decoded if isinstance(line, Ended)}


def _decoded(line: bytes) -> Began | Ended | None:
    """What a line says; nothing if its writer was killed in the middle of it, or is there now."""
    try:
        return msgspec.json.decode(line, type=Began | Ended)
    except msgspec.DecodeError:
        return None


def _call(began: Began, ended: Ended | None) -> RecordedCall:
    call = RecordedCall(
        pid=began.pid,
        session=began.session,
        message_id=began.message_id,
        began=began.at,
        recipients=unpacked(began.to),
    )
    if ended is None:
        return call
    reached = frozenset(unpacked(ended.reached))
    return msgspec.structs.replace(call, ended=ended.at, outcome=ended.outcome, reached=reached)


def _by_recipient(messages: Iterable[tuple[str, Iterable[str]]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for message_id, recipients in messages:
        for recipient in recipients:
            found[recipient].add(message_id)
    return dict(found)


def packed(recipients: Iterable[str]) -> list[str]:
    """`recipients` in their order, each run of consecutive numbers as `first..last@domain`."""
    runs: list[tuple[int, int, str]] = []
    for recipient in recipients:
        number, domain = _parted(recipient)
        if runs and number > 0 and runs[-1][1:] == (number - 1, domain):
            runs[-1] = (runs[-1][0], number, domain)
        else:
            runs.append((number, number, domain))
    return [_written(*run) for run in runs]


def unpacked(written: Iterable[str]) -> list[str]:
    """What `packed` was given."""
    return [recipient for entry in written for recipient in _recipients(entry)]


def _parted(recipient: str) -> tuple[int, str]:
    """Number and domain, or -1 and the whole where there is no such thing."""
    found = _NUMBERED.fullmatch(recipient)
    return (int(found[1]), found[2]) if found else (-1, recipient)


def _written(first: int, last: int, domain: str) -> str:
    if first < 0:
        return domain
    return f"{first}@{domain}" if first == last else f"{first}..{last}@{domain}"


def _recipients(entry: str) -> Iterator[str]:
    found = _RUN.fullmatch(entry)
    if found is None:
        yield entry
        return
    yield from (f"{number}@{found[3]}" for number in range(int(found[1]), int(found[2]) + 1))
