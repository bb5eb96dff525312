"""A fence around a plugin's object: what it does wrong costs its own effect, is told once, and in the end stops it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from muxer import measurements
from muxer.errors import MuxerError
from muxer.interfaces import HasEvidence, Log, Meter, Signal
from muxer.lessons import MOST_FEATURES, KeepsFeatures
from muxer.log import frames
from muxer.types import ChatRequest, SignalValue

FAILURES_BEFORE_PAUSE = 5  # B69
PAUSE_S = 30.0
SIGNAL_DEADLINE_S = 0.1  # B69; a signal cannot be interrupted, so it is only measured
LONGEST_TEXT = 256

Reason = Literal["raised", "timeout", "junk"]


class ComponentFailed(Exception):
    """A plugin's object raised, and that was told: who asked it goes on without it."""


class Fence:
    """Counts the failures of one component. After five in a row it is left alone for half a minute, then tried again.

    `component` is how logs and metrics name it: `guard redact`. `scrub` takes secrets out of what callers are told.
    """

    def __init__(
        self,
        component: str,
        meter: Meter,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self.component = component
        self.scrub = scrub
        self._meter = meter
        self._log = log
        self._monotonic = monotonic
        self._in_a_row = 0
        self._closed_until = -math.inf
        self._told: set[Reason] = set()

    @property
    def is_closed(self) -> bool:
        """Whether the component is left alone for now."""
        return self._monotonic() < self._closed_until

    def around(self, *passing: type[Exception]) -> "_Around":
        """Around a call of the component: what it raises counts and becomes ComponentFailed, but for what may pass."""
        return _Around(self, passing)

    def failed(self, reason: Reason, error: BaseException | None = None, detail: str = "") -> None:
        """Counts a failure. The first of each reason is logged, the others are in the metric."""
        self._meter.add(measurements.PLUGIN_FAILURES, 1, self.component, reason)
        if reason not in self._told:
            self._told.add(reason)
            # The words of foreign code may hold anything, a prompt or a secret too: its type and frames say enough.
            what = type(error).__name__ if error else ""
            self._log(
                "error",
                "plugin_failed",
                component=self.component,
                reason=reason,
                error=what,
                detail=detail,
                trace=frames(error) if error else [],
            )
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_BEFORE_PAUSE:
            self._in_a_row = 0
            self._closed_until = self._monotonic() + PAUSE_S
            self._log("error", "plugin_set_aside", component=self.component, reason=reason, pause_s=PAUSE_S)

    def succeeded(self) -> None:
        """Forgets the failures in a row."""
        self._in_a_row = 0


class _Around:
    """See Fence.around. A class, since a generator as a context costs several times as much, and signals are fenced in
    each request."""

    __slots__ = ("_fence", "_passing")

    def __init__(self, fence: Fence, passing: tuple[type[Exception], ...]) -> None:
        self._fence = fence
        self._passing = passing

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, (Exception, SystemExit)):  # foreign code may raise what it likes, or end the process
            return
        if isinstance(error, self._passing):
            if isinstance(error, MuxerError):
                error.reword(self._fence.scrub)
            return
        self._fence.failed("timeout" if isinstance(error, TimeoutError) else "raised", error)
        raise ComponentFailed from error


_EMPTY: Mapping[type, SignalValue] = {float: 0.0, int: 0, bool: False, str: ""}


class FencedSignal:
    """A signal whose values are always those its kind declares: what it does not give is 0, false or ''."""

    def __init__(self, signal: Signal, declared: Mapping[str, type], fence: Fence) -> None:
        self._signal = signal
        self._declared = declared
        self._fence = fence
        self._nothing = {name: _EMPTY[type_] for name, type_ in declared.items()}

    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        """See Signal; never raises."""
        if self._fence.is_closed:
            return self._nothing
        begun = time.perf_counter()
        try:
            with self._fence.around():
                values: object = self._signal.measure(request)
        except ComponentFailed:
            return self._nothing
        if time.perf_counter() - begun > SIGNAL_DEADLINE_S:
            self._fence.failed("timeout", detail=f"it took longer than {SIGNAL_DEADLINE_S} s")
        return self._checked(values)

    def evidence(self, request: ChatRequest) -> Mapping[str, Sequence[str]]:
        """See HasEvidence; never raises, and is empty where the signal has none."""
        if self._fence.is_closed or not isinstance(self._signal, HasEvidence):
            return {}
        try:
            with self._fence.around():
                found = self._signal.evidence(request)
                return {str(name): [str(quote) for quote in quotes] for name, quotes in found.items()}
        except ComponentFailed:
            return {}

    def features(self, request: ChatRequest) -> str:
        """See KeepsFeatures; never raises, and is '' where the signal keeps none."""
        if self._fence.is_closed or not isinstance(self._signal, KeepsFeatures):
            return ""
        try:
            with self._fence.around():
                kept: object = self._signal.features(request)
        except ComponentFailed:
            return ""
        if isinstance(kept, str) and len(kept) <= MOST_FEATURES:
            return kept
        self._fence.failed("junk", detail=f"its features are no text of at most {MOST_FEATURES} characters")
        return ""

    def _checked(self, values: object) -> Mapping[str, SignalValue]:
        if not isinstance(values, Mapping):
            self._fence.failed("junk", detail=f"it measured a {type(values).__name__}, not a mapping")
            return self._nothing
        found = dict(self._nothing)
        for name, type_ in self._declared.items():
            value = values.get(name, self._nothing[name])
            if not _fits(value, type_):
                self._fence.failed("junk", detail=f"{name} is a {type(value).__name__} that is no {type_.__name__}")
                return self._nothing
            found[name] = value[:LONGEST_TEXT] if isinstance(value, str) else value
        self._fence.succeeded()
        return found


def _fits(value: object, declared: type) -> bool:
    if declared is float:
        if type(value) is float:
            return math.isfinite(value)
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, declared) and (declared is bool or not isinstance(value, bool))
