"""The measured parts of `docs/explanation.md`: every figure there is written by this, from `bench/whatsapp.json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ops.bench.markdown import table
from ops.bench.whatsapp_figures import Comparison, Ratio, Size, State, Whatsapp, where

SAME: Final = 0.9
"""A ratio above this is no gain: two runs of the same thing differ as much."""
CLAIMED_GAIN: Final = (3.0, 5.0)
CLAIMED_SECONDS: Final = {3_000: (2.0, 3.0), 10_000: (8.0, 12.0), 50_000: (40.0, 60.0)}
"""What the original system said of one call to so many."""

_ORDINALS: Final[dict[State, str]] = {
    "new": "first story",
    "standing": "second story",
    "answered": "after everybody has answered",
}


class Claim(NamedTuple):
    """What was said, whether it is true, and what was measured."""

    said: str
    verdict: str
    measured: str


def parts(found: Whatsapp) -> dict[str, str]:
    """The measured parts of the page by their names, in Markdown."""
    return {
        "machine": f"Measured on {where(found)}. Medians of {found.repeats} repetitions.",
        "claims": table(("it was said", "is it true", "measured"), claims(found)),
        "saved": _saved(found),
        "time": table(_TIME_HEADS, _time_rows(found)),
        "work": table(_WORK_HEADS, _work_rows(found)),
    }


def claims(found: Whatsapp) -> list[Claim]:
    """Each claim with its verdict, which follows from the figures."""
    largest = found.sizes[-1]
    return [_same_ciphertext(largest), _less_work(largest), _faster(found), _gain(found), *_seconds(found)]


def _same_ciphertext(size: Size) -> Claim:
    return Claim(
        "the anchor's ciphertext is used again for all the others",
        _verdict(size.repeated > 0),
        f"the same text was sent again and again: of {size.ciphertexts:,} ciphertexts, "
        f"{size.repeated:,} had the bytes of another one",
    )


def _less_work(size: Size) -> Claim:
    first, second = size.in_state("new"), size.in_state("standing")
    return Claim(
        "a recipient of an anchored batch is less work",
        _verdict(max(first.posting_cpu.median, second.posting_cpu.median) < SAME),
        f"at {size.contacts:,} contacts the library takes {_times(first.posting_cpu)} the CPU time of one call at the "
        f"first story, {_times(second.posting_cpu)} at the second; with contact staging it is "
        f"{_times(first.client_cpu)} and {_times(second.client_cpu)}. Bytes: {_times(first.size)} as many",
    )


def _faster(found: Whatsapp) -> Claim:
    size = found.sizes[-1]
    first, second = size.in_state("new"), size.in_state("standing")
    ratios = [compared.time.median for _, compared in _each_state(found)]
    return Claim(
        "anchored batches are faster than one call",
        _verdict(max(first.time.median, second.time.median) < SAME),
        f"at {size.contacts:,} contacts they take {_times(first.time)} the time of one call at the first story, "
        f"{_times(second.time)} at the second, and in the library alone {_times(first.posting)} and "
        f"{_times(second.posting)}. Of the {len(ratios)} comparisons below they were faster in "
        f"{sum(ratio < 1 for ratio in ratios) or 'none'}",
    )


def _gain(found: Whatsapp) -> Claim:
    low, high = CLAIMED_GAIN
    size = found.sizes[-1]
    first, second = (size.in_state(state).traditional.seconds for state in ("new", "standing"))
    best = 1 / min(compared.time.median for _, compared in _each_state(found))
    return Claim(
        f"they are {low:.0f} to {high:.0f} times faster",
        _verdict(best >= low),
        f"{best:.2f} times as fast at best. A second story goes {first / second:.1f} times as fast as a first one, but "
        "in one call just as well",
    )


def _seconds(found: Whatsapp) -> Iterator[Claim]:
    for contacts, (low, high) in CLAIMED_SECONDS.items():
        said = f"one call to {contacts:,} takes {low:.0f} to {high:.0f} s"
        if size := found.of(contacts):
            yield _timed(said, low, high, size)
        elif error := next((one.error for one in found.refused if one.contacts == contacts), ""):
            yield Claim(said, _verdict(False), f"with this library it cannot be made at all: `{error}`")
        else:
            yield Claim(said, "unknown", "not measured")


def _timed(said: str, low: float, high: float, size: Size) -> Claim:
    first, second = (size.in_state(state).traditional.seconds for state in ("new", "standing"))
    return Claim(said, _within(low, high, first), f"{first:.1f} s the first time, {second:.1f} s the second")


def _within(low: float, high: float, seconds: float) -> str:
    if low <= seconds <= high:
        return "**true** here, for a first story"
    return f"**false** here: {'less' if seconds < low else 'more'}"


def _verdict(true: bool) -> str:
    return "**true**" if true else "**false**"


def _saved(found: Whatsapp) -> str:
    size = found.sizes[-1]
    first, second, third = (compared.traditional for compared in size.states)
    return "\n".join(
        (
            f"- To {size.contacts:,} contacts in one call, the first story takes {_each(first.micros_per_recipient)} "
            f"for a recipient, the second {_each(second.micros_per_recipient)}. That is the session: it is built "
            "once, from keys that WhatsApp is asked for, and stands from then on.",
            f"- A stanza has {first.bytes_per_recipient:.0f} bytes for a recipient the first time, and "
            f"{second.bytes_per_recipient:.0f} the second: until a contact has answered, each ciphertext brings the "
            f"start of the session along. Once everybody has answered it is {third.bytes_per_recipient:.0f}, and takes "
            f"{_each(third.micros_per_recipient)}.",
            f"- Anchored it is {len(size.calls)} calls, to {_listed(size.calls)}. The first shows with "
            f"{_people(size.calls[0])} that the account may post. If one fails or its outcome is unknown, that "
            f"concerns {max(size.calls):,} of {size.contacts:,} people at most, and not all of them.",
            f"- Here it is {size.message_ids} message ids as well, because this engine cannot give one itself: the "
            "account's own phone shows the story as many times. Nobody else gets it twice.",
        )
    )


_TIME_HEADS = (
    "contacts",
    "calls",
    "story",
    "one call",
    "anchored",
    "ratio",
    "lowest, highest",
    "in the library alone",
    "its CPU",
)


def _time_rows(found: Whatsapp) -> Iterator[Sequence[str]]:
    for size, compared in _each_state(found):
        yield (
            f"{size.contacts:,}",
            f"{len(size.calls)}",
            _ORDINALS[compared.state],
            f"{compared.traditional.seconds:.2f} s",
            f"{compared.anchored.seconds:.2f} s",
            f"{compared.time.median:.2f}",
            f"{compared.time.low:.2f}, {compared.time.high:.2f}",
            f"{compared.posting.median:.2f}",
            f"{compared.posting_cpu.median:.2f}",
        )


_WORK_HEADS = (
    "contacts",
    "story",
    "time each, one call",
    "anchored",
    "client's CPU, one call",
    "anchored",
    "server's CPU, one call",
    "anchored",
    "bytes each, one call",
    "anchored",
    "largest stanza, one call",
    "anchored",
)


def _work_rows(found: Whatsapp) -> Iterator[Sequence[str]]:
    for size, compared in _each_state(found):
        one, anchored = compared.traditional, compared.anchored
        yield (
            f"{size.contacts:,}",
            _ORDINALS[compared.state],
            *(_each(cost.micros_per_recipient) for cost in (one, anchored)),
            *(f"{cost.client_cpu_seconds:.2f} s" for cost in (one, anchored)),
            *(f"{cost.server_cpu_seconds:.2f} s" for cost in (one, anchored)),
            *(f"{cost.bytes_per_recipient:.0f}" for cost in (one, anchored)),
            *(f"{max(cost.stanza_bytes):,} B" for cost in (one, anchored)),
        )


def _each_state(found: Whatsapp) -> Iterator[tuple[Size, Comparison]]:
    for size in found.sizes:
        for compared in size.states:
            yield size, compared


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} times"


def _each(micros: float) -> str:
    return f"{micros / 1000:.2f} ms"


def _people(count: int) -> str:
    return "one person" if count == 1 else f"{count:,} people"


def _listed(sizes: Sequence[int]) -> str:
    *most, last = (f"{size:,}" for size in sizes)
    return f"{', '.join(most)} and {last}" if most else last
