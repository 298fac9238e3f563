"""Recipients that are not sent to, kept compactly: as they were written, and one byte of reason each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from stages.flow import Skipped


class Skips(Sequence[Skipped]):
    """Grows at its end and is otherwise immutable. A slice is a list; it equals a list of the same."""

    __slots__ = ("_ends", "_reasons", "_texts", "_which")

    def __init__(self, skipped: Iterable[Skipped] = ()) -> None:
        self._texts = bytearray()
        self._ends = array("Q", [0])
        self._which = array("B")
        self._reasons: list[str] = []
        for skip in skipped:
            self.append(skip.recipient, skip.reason)

    def append(self, recipient: str, reason: str) -> None:
        """Add a recipient as it was written. There may be 256 different reasons."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._which.append(self._reasons.index(reason))
        self._texts += recipient.encode(errors="surrogatepass")
        self._ends.append(len(self._texts))

    def reasons(self) -> Counter[str]:
        """How many there are for each reason."""
        return Counter({reason: self._which.count(which) for which, reason in enumerate(self._reasons)})

    def __len__(self) -> int:
        return len(self._which)

    @overload
    def __getitem__(self, place: int) -> Skipped: ...

    @overload
    def __getitem__(self, place: slice) -> list[Skipped]: ...

    def __getitem__(self, place: int | slice) -> Skipped | list[Skipped]:
        places = range(len(self))[place]
        return self._at(places) if isinstance(places, int) else [self._at(each) for each in places]

    def __iter__(self) -> Iterator[Skipped]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment] # it grows

    def __repr__(self) -> str:
        return f"<Skips: {dict(self.reasons())}>"  # never names them: this may end up in a log

    def _at(self, place: int) -> Skipped:
        written = self._texts[self._ends[place] : self._ends[place + 1]]
        return Skipped(written.decode(errors="surrogatepass"), self._reasons[self._which[place]])
