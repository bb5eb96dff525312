"""Which models are set aside for a while: after a 429, a refused credential, or too many failures (F1, F2)."""

from collections.abc import Callable, Collection
from typing import Literal

from msgspec import Struct

from muxer import measurements
from muxer.catalog import Model
from muxer.failures import ProviderFailed, UpstreamAuth, UpstreamRateLimited
from muxer.interfaces import Meter

MAX_PAUSE_S = 120.0  # F1
AUTH_PAUSE_S = 30.0
FAILURES_BEFORE_PAUSE = 5  # F2: in a row, or at least half of what was asked within the window
WINDOW_S = 10.0
FAILURE_PAUSE_S = 10.0


class _Breaker(Struct, eq=False):
    """One model at one provider. `why` is '' while it is closed; with a `why` it is open until `until_s`, and from
    then on half open: one request may try it, and its end decides."""

    in_a_row: int = 0
    window_from_s: float = 0.0
    asked: int = 0
    failed: int = 0
    why: str = ""
    is_for_failures: bool = False
    until_s: float = 0.0
    is_probing: bool = False

    def count(self, now_s: float, *, is_failure: bool) -> None:
        """Adds one outcome to the row and to the window of now."""
        self.in_a_row = self.in_a_row + 1 if is_failure else 0
        if now_s - self.window_from_s >= WINDOW_S:
            self.window_from_s, self.asked, self.failed = now_s, 0, 0
        self.asked += 1
        self.failed += is_failure

    @property
    def is_failing(self) -> bool:
        return self.in_a_row >= FAILURES_BEFORE_PAUSE or (
            self.failed >= FAILURES_BEFORE_PAUSE and 2 * self.failed >= self.asked
        )


Entry = Literal["free", "probe", "closed"]
"""How a request got to a model: as any other, as the one that tries whether it is back, or not at all."""


class Breakers:
    """A breaker for each model at its provider, on the clock given (seconds, monotonic).

    At most half of the models asked so far, and always one, are set aside for failures: when everything fails, the
    cause is likely our own network, and somebody must be asked to find its end.
    """

    def __init__(self, clock: Callable[[], float], meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._all: dict[tuple[str, str], _Breaker] = {}

    def reason(self, model: Model) -> str:
        """Why a model is not to be asked just now, or ''."""
        breaker = self._all.get(_key(model))
        if breaker is None or not breaker.why:
            return ""
        left_s = breaker.until_s - self._clock()
        if left_s > 0:
            return f"set aside for {left_s:.0f} s more after {breaker.why}"
        return f"being tried again after {breaker.why}" if breaker.is_probing else ""

    def keep(self, keys: Collection[tuple[str, str]]) -> None:
        """Forgets all but these (a model's name, its provider's): another provider may stand behind the others now."""
        for key in self._all.keys() - set(keys):
            if self._all.pop(key).why:
                self._meter.set(measurements.PROVIDER_UP, 1, *key)

    def enter(self, model: Model) -> Entry:
        """Before each attempt. A probe must be followed by `succeeded`, `failed` or `left`."""
        breaker = self._all.setdefault(_key(model), _Breaker())
        if not breaker.why:
            return "free"
        if breaker.is_probing or breaker.until_s > self._clock():
            return "closed"
        breaker.is_probing = True
        return "probe"

    def left(self, model: Model, entry: Entry) -> None:
        """The attempt ended and says nothing about the model: it was abandoned, or the request itself was wrong."""
        breaker = self._all.get(_key(model))
        if entry == "probe" and breaker is not None:
            breaker.is_probing = False

    def succeeded(self, model: Model, entry: Entry) -> None:
        """The model answered. Only a probe ends a pause: another answer may have begun before it."""
        breaker = self._all.setdefault(_key(model), _Breaker())
        breaker.count(self._clock(), is_failure=False)
        if entry == "probe":
            self._all[_key(model)] = _Breaker()
            self._meter.set(measurements.PROVIDER_UP, 1, *_key(model))

    def failed(self, model: Model, entry: Entry, error: ProviderFailed) -> None:
        """Counts a failure, and sets the model aside when it is time to."""
        if not error.falls_back:
            self.left(model, entry)
            return
        breaker, now_s = self._all.setdefault(_key(model), _Breaker()), self._clock()
        breaker.count(now_s, is_failure=True)
        if isinstance(error, UpstreamRateLimited):
            pause_s = min(MAX_PAUSE_S, 1.0 if error.retry_after_s is None else error.retry_after_s)
        elif isinstance(error, UpstreamAuth):
            pause_s = AUTH_PAUSE_S
        elif entry == "probe" or (breaker.is_failing and self._may_set_aside(breaker)):
            pause_s = FAILURE_PAUSE_S
        else:
            return
        breaker.is_for_failures = not isinstance(error, (UpstreamRateLimited, UpstreamAuth))
        breaker.why, breaker.is_probing = error.code, False
        breaker.until_s = max(breaker.until_s, now_s + pause_s)
        self._meter.set(measurements.PROVIDER_UP, 0, *_key(model))

    def _may_set_aside(self, breaker: _Breaker) -> bool:
        others = sum(1 for one in self._all.values() if one.why and one.is_for_failures and one is not breaker)
        return others + 1 <= max(1, len(self._all) // 2)


def _key(model: Model) -> tuple[str, str]:
    return model.name, model.provider
