"""The figures of `bench whatsapp`, for machines as JSON and for people as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct
from rich.table import Table

State = Literal["new", "standing", "answered"]
"""Nobody has a session yet; everybody has one; and everybody has answered in it."""


class Cost(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one story cost in one way of sending it: medians of all its samples. Seconds are real ones."""

    samples: int
    seconds: float
    """Until the engine had told the outcome of the last call."""
    posting_seconds: float
    """Of those: from the library's first query for a post until the server had the stanza. The rest is storycast's:
    asking for privacy and devices, naming the recipients, and putting the names back."""
    posting_cpu_seconds: float
    """CPU time of the process with the library, in that time."""
    micros_per_recipient: float
    """`seconds`, for one recipient."""
    client_cpu_seconds: float
    """CPU time of the process with the library, from the beginning to the end."""
    server_cpu_seconds: float
    """CPU time of the process with the server, the contacts, and the engine's own side of the pipe."""
    stanza_bytes: Sequence[int]
    """Of each call, in order."""
    bytes_per_recipient: float
    """Of all stanzas together."""
    pkmsg: int
    """Pairwise ciphertexts that carry the start of a session, in all calls; the account's own phone counts."""
    msg: int
    """And those that do not."""


class Ratio(Struct, frozen=True, kw_only=True, rename="camel"):
    """Anchored over traditional, pair by pair: the median, the lowest and the highest."""

    median: float
    low: float
    high: float


class Comparison(Struct, frozen=True, kw_only=True, rename="camel"):
    """Both ways for contacts in one state. In the ratios above 1 means that anchoring costs more."""

    state: State
    traditional: Cost
    anchored: Cost
    time: Ratio
    posting: Ratio
    posting_cpu: Ratio
    client_cpu: Ratio
    size: Ratio
    """In bytes."""


class Size(Struct, frozen=True, kw_only=True, rename="camel"):
    """One number of contacts."""

    contacts: int
    calls: Sequence[int]
    """Recipients of the anchored calls, in order; the first is the anchor."""
    states: Sequence[Comparison]
    ciphertexts: int
    """Pairwise ciphertexts and those for all, over all calls of one text."""
    repeated: int
    """Of those: the same bytes as another one."""
    message_ids: int
    """Of one anchored story."""

    def in_state(self, state: State) -> Comparison:
        """The comparison for contacts in this state."""
        return next(one for one in self.states if one.state == state)


class Refusal(Struct, frozen=True, kw_only=True, rename="camel"):
    """A number of contacts that one call cannot go to, and what the engine said."""

    contacts: int
    error: str


class Machine(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where it was measured."""

    cpu: str
    cores: int
    system: str
    python: str
    neonize: str


class Load(Struct, frozen=True, kw_only=True, rename="camel"):
    """What else the machine had to do."""

    before: float
    """Load average of the minute before."""
    after: float
    """Load average of the last minute, this measuring included."""
    other_cores: float
    """Cores that were busy with something else, on average."""


class Whatsapp(Struct, frozen=True, kw_only=True, rename="camel"):
    """All sizes, the smallest first."""

    machine: Machine
    load: Load
    repeats: int
    seconds: float
    """That measuring took."""
    sizes: Sequence[Size]
    refused: Sequence[Refusal]

    def of(self, contacts: int) -> Size | None:
        """The size with so many contacts, if it was measured."""
        return next((size for size in self.sizes if size.contacts == contacts), None)


STATES: Mapping[State, str] = {"new": "first", "standing": "second", "answered": "answered"}
_HEADS = ("contacts", "send", "calls", "one call", "each", "anchored", "each", "ratio", "CPU", "bytes")


def table(found: Whatsapp) -> Table:
    """A row for each size and state."""
    shown = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for head in _HEADS:
        shown.add_column(head, justify="right", no_wrap=True)
    for size in found.sizes:
        for compared in size.states:
            shown.add_row(*_cells(size, compared))
    return shown


def legend(found: Whatsapp) -> str:
    """What the columns are, and where it was measured."""
    return (
        "send: the first (sessions are built), the second (they stand), and one after everybody has answered;\n"
        "one call, anchored: until the outcome, with anchored calls one after the other; each: for one recipient;\n"
        "ratio: anchored over one call, in time; CPU: the same for the process with the library;\n"
        "bytes: of the stanza of one call, for one recipient.\n"
        f"Medians of {found.repeats} repetitions, interleaved. ({where(found)})"
        + "".join(f"\nOne call to {one.contacts:,} was refused: {one.error}" for one in found.refused)
    )


def where(found: Whatsapp) -> str:
    """The machine, what runs on it, and what else it had to do."""
    machine, load = found.machine, found.load
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}, neonize {machine.neonize}; "
        f"load average before {load.before:.1f}, other work {load.other_cores:.1f} cores"
    )


def _cells(size: Size, compared: Comparison) -> tuple[str, ...]:
    one, anchored = compared.traditional, compared.anchored
    return (
        f"{size.contacts:,}",
        STATES[compared.state],
        f"{len(size.calls)}",
        f"{one.seconds:.2f} s",
        f"{one.micros_per_recipient / 1000:.2f} ms",
        f"{anchored.seconds:.2f} s",
        f"{anchored.micros_per_recipient / 1000:.2f} ms",
        f"{compared.time.median:.2f}",
        f"{compared.client_cpu.median:.2f}",
        f"{one.bytes_per_recipient:.0f}",
    )
