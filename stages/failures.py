"""Who failed and why, kept as places in the sending order: of a story that failed as a whole that is everybody."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from itertools import chain, repeat

from stages.ranges import Ranges


class Failures(Mapping[str, str]):
    """Recipient to reason, as it is in `order`. Made for being gone through; looking one up takes as long."""

    def __init__(self, order: Sequence[str], places: Mapping[str, Ranges]) -> None:
        self._order = order
        self._places = places

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def __iter__(self) -> Iterator[str]:
        return (self._order[place] for places in self._places.values() for place in places)

    def __getitem__(self, recipient: str) -> str:
        for failed, reason in self.items():
            if failed == recipient:
                return reason
        raise KeyError(recipient)

    def items(self) -> ItemsView[str, str]:
        """Each with its reason."""
        return _Items(self)

    def values(self) -> ValuesView[str]:
        """The reasons, as often as there are recipients."""
        return _Reasons(self)

    def reasons(self) -> Iterator[str]:
        """The reason of each, without a look at who it is."""
        return chain.from_iterable(repeat(why, len(places)) for why, places in self._places.items())

    def __repr__(self) -> str:
        return f"<Failures: {len(self):,}>"  # never names them: this may end up in a log


class _Items(ItemsView[str, str]):
    _mapping: Failures

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self._mapping, self._mapping.reasons(), strict=True)


class _Reasons(ValuesView[str]):
    _mapping: Failures

    def __iter__(self) -> Iterator[str]:
        return self._mapping.reasons()
