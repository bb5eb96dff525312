"""Collects what is wrong with a file, each fault at its place, so that all of them are told at once."""

from collections.abc import Iterable, Iterator

from muxer.config.settings import Place
from muxer.errors import Fault

_MOST = 100


class Faults:
    """The faults of one file. The first hundred are kept: who has more fixes those first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._faults: list[Fault] = []

    def add(self, place: Place | None, path: str, message: str, hint: str = "") -> None:
        """Notes one fault; without a place it is not about a line (the environment, say)."""
        if place is None:
            self.extend([Fault(message, path=path, hint=hint)])
        else:
            self.extend([Fault(message, self.file, place.line, place.column, path, hint)])

    def extend(self, faults: Iterable[Fault]) -> None:
        """Notes faults that others found."""
        self._faults.extend(faults)
        del self._faults[_MOST:]

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    @property
    def is_full(self) -> bool:
        """Whether more would not be kept."""
        return len(self._faults) >= _MOST

    def in_order(self) -> tuple[Fault, ...]:
        """All faults from the top of the file to its end, what has no line last."""
        return tuple(sorted(self._faults, key=lambda fault: (not fault.line, fault.line, fault.column)))
