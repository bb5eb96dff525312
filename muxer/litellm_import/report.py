"""What became of each key of the input, and which variables the result needs."""

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from muxer.litellm_import.tree import Spot, View

Outcome = Literal["mapped", "approximated", "dropped", "wrong"]
OUTCOMES: tuple[Outcome, ...] = ("mapped", "approximated", "dropped", "wrong")
"""From the best that can happen to a key to the worst."""

_STEP = re.compile(r"[.\[]")
_UNKNOWN = "ModelMuxer has nothing that answers to it"


class Finding(Struct, frozen=True):
    """One key: where it stands (`path` as in `model_list[0].model_name`), what became of it, and how or why."""

    path: str
    file: str
    line: int
    column: int
    outcome: Outcome
    words: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path or 'the file'}: {self.outcome}: {self.words}"


class Report:
    """Collects one finding for each key. Told of a key twice it keeps both words and the worse outcome."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}
        self._ways: set[str] = set()
        self._words: dict[str, dict[str, None]] = {}
        self.variables: dict[str, str] = {}
        """The variables the result reads, each with what it is for."""

    def mapped(self, view: View, words: str) -> None:
        """It means the same in the result."""
        self.add(view.path, view.spot, "mapped", words)

    def approximated(self, view: View, words: str) -> None:
        """The result has what comes nearest."""
        self.add(view.path, view.spot, "approximated", words)

    def dropped(self, view: View, words: str) -> None:
        """The result has nothing of it."""
        self.add(view.path, view.spot, "dropped", words)

    def wrong(self, view: View, words: str) -> None:
        """It is a mistake of the input; told at the value's place."""
        self.add(view.path, view.node.spot if view.is_scalar else view.spot, "wrong", words)

    def add(self, path: str, spot: Spot, outcome: Outcome, words: str) -> None:
        """Notes what became of the key at this path."""
        if path not in self._findings:
            self._ways.update(path[: at.start()] for at in _STEP.finditer(path))
        said = self._words.setdefault(path, {})
        said.setdefault(words)
        known = self._findings.get(path)
        if known is not None and OUTCOMES.index(known.outcome) > OUTCOMES.index(outcome):
            outcome, spot = known.outcome, Spot(known.file, known.line, known.column)
        self._findings[path] = Finding(path, spot.file, spot.line, spot.column, outcome, "; ".join(said))

    def complete(self, root: View) -> None:
        """Notes as dropped every key that nothing was said about, the outermost of each."""
        for section in root.entries().values():
            if section.path not in self._findings and section.entries():
                for entry in section.entries().values():
                    self.leave_out(entry, _UNKNOWN)
            else:
                self.leave_out(section, _UNKNOWN)

    def leave_out(self, view: View, why: str) -> None:
        """Notes as dropped what nothing was said about of a key and all in it, the outermost of each."""
        if view.path in self._findings:
            return
        if view.path not in self._ways:
            self.dropped(view, "says nothing" if view.is_empty else why)
            return
        for child in (*view.entries().values(), *(item for item in view.items() if not item.is_scalar)):
            self.leave_out(child, why)

    def __iter__(self) -> Iterator[Finding]:
        """In the order of the input, file by file as they were first told of."""
        files = {finding.file: None for finding in self._findings.values()}
        order = {file: index for index, file in enumerate(files)}
        yield from sorted(self._findings.values(), key=lambda one: (order[one.file], one.line, one.column, one.path))

    @property
    def has_errors(self) -> bool:
        """Whether anything in the input is wrong."""
        return any(finding.outcome == "wrong" for finding in self._findings.values())

    def counts(self) -> dict[Outcome, int]:
        """How many keys ended in each outcome."""
        counts = dict.fromkeys(OUTCOMES, 0)
        for finding in self._findings.values():
            counts[finding.outcome] += 1
        return counts
