"""`GET /metrics`: the core's measurements for Prometheus, in its text format or in OpenMetrics."""

import asyncio
import os
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web
from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from muxer import ALL_METRICS, Context, Kind, Meter, Metric, Operation, Route, hookimpl

MAX_SERIES = 2_000
"""The most lines of `/metrics`, whatever the traffic (RELIABILITY B73)."""

METRICS = Operation(summary="The measurements of this proxy", answer=str, media_type="text/plain")
_INFO = "muxer_config_info"
"""What is 0 there is no longer in force and not shown: each configuration has a name of its own."""
OTHER = "other"
"""The value of every label of what comes after MAX_SERIES."""

_Mode = Literal["livesum", "livemin", "livemax", "livemostrecent"]
_MODES: Mapping[str, _Mode] = {
    "muxer_requests_in_flight": "livesum",
    "muxer_drains": "livesum",
    "muxer_store_owed_requests": "livesum",
    "muxer_provider_up": "livemin",
    "muxer_store_up": "livemin",
    # Each worker reads these from the store that all share.
    "muxer_held_usd": "livemostrecent",
    "muxer_presumed_usd": "livemostrecent",
    "muxer_limit_used_ratio": "livemostrecent",
}
"""What several workers' values of a gauge come to: the largest, if nothing else is said here."""

_Action = Callable[[float], None]


class PrometheusSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class _Exposed(Collector):
    """A registry without the `_created` series, which prometheus-client adds to each counter and histogram, and without
    configurations that were in force."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            family.samples = [
                sample
                for sample in family.samples
                if not sample.name.endswith("_created") and (sample.value or sample.name != _INFO)
            ]
            yield family


class PrometheusMeter:
    """The meter over a registry of its own. What takes a value is looked up by metric and labels once."""

    def __init__(self) -> None:
        registry = shown = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            # One of several workers: all write to files there. A page is made of them, whichever worker is asked; what
            # only one process can say of itself would jump from scrape to scrape.
            shown = CollectorRegistry()
            MultiProcessCollector(shown)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        else:
            ProcessCollector(registry=shown)
        PlatformCollector(registry=shown)
        self.exposed = _Exposed(shown)
        self._registry = registry
        self._families: dict[str, Counter | Gauge | Histogram] = {}
        self._actions: dict[tuple[str, tuple[str, ...]], _Action] = {}
        self._left = MAX_SERIES - sum(len(family.samples) for family in self.exposed.collect())
        for metric in ALL_METRICS:
            self._open(metric)

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Raises a counter."""
        (self._actions.get((metric.name, labels)) or self._action(metric, labels))(amount)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Sets a gauge."""
        (self._actions.get((metric.name, labels)) or self._action(metric, labels))(value)
        if not value and metric.name == _INFO and (metric.name, labels) in self._actions:
            del self._actions[metric.name, labels]
            self._left += 1
            if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # there it stays in the file of this process
                self._families[metric.name].remove(*labels)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Adds one value to a histogram."""
        (self._actions.get((metric.name, labels)) or self._action(metric, labels))(value)

    def _action(self, metric: Metric, labels: tuple[str, ...]) -> _Action:
        """What takes a value the first time; past the last series, what takes all others (and is not remembered)."""
        if metric.name not in self._families:
            self._open(metric)
        if not metric.labels or self._left < _series(metric):
            return self._actions[metric.name, (OTHER,) * len(metric.labels)]
        action = _taker(self._families[metric.name].labels(*labels))
        self._left -= _series(metric)
        self._actions[metric.name, labels] = action
        return action

    def _open(self, metric: Metric) -> None:
        """Registers a family, and sets aside the series of its others, which are written once they are needed."""
        family = _family(metric, self._registry)
        self._families[metric.name] = family
        self._left -= _series(metric)
        others = (OTHER,) * len(metric.labels)
        self._actions[metric.name, others] = (
            (lambda value: _taker(family.labels(*others))(value)) if others else _taker(family)
        )


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        # prometheus-client appends the _total that the name already has.
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
    if metric.kind == "gauge":
        mode = _MODES.get(metric.name, "livemax")
        return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode=mode)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)


def _taker(child: Counter | Gauge | Histogram) -> _Action:
    """What takes a value, past the library's checks of labels, signs and exemplars: a request has a dozen values, and
    the checks cost as much as the rest."""
    if isinstance(child, Gauge):
        return child.set if child._is_most_recent else child._value.set
    if isinstance(child, Counter):
        count: _Action = child._value.inc
        return count
    add, bounds, buckets = child._sum.inc, child._upper_bounds, [bucket.inc for bucket in child._buckets]

    def observe(value: float) -> None:
        add(value)
        buckets[bisect_left(bounds, value)](1)

    return observe


def _series(metric: Metric) -> int:
    """The lines of one set of labels: a histogram has its buckets, one without end, a sum and a count."""
    return len(metric.buckets) + 3 if metric.kind == "histogram" else 1


class Prometheus:
    """The extension: a meter for the core, and the route that shows it."""

    def __init__(self) -> None:
        self._meter = PrometheusMeter()

    @property
    def meter(self) -> Meter:
        """Where the core reports to."""
        return self._meter

    def routes(self) -> Sequence[Route]:
        """`/metrics`, for keys that may read metrics."""
        return [Route("GET", "/metrics", self._metrics, "metrics", METRICS)]

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
        # A full page takes tens of milliseconds to write: not on the loop that serves requests.
        page = await asyncio.to_thread(encode, self._meter.exposed)
        return web.Response(body=page, headers={"Content-Type": content_type})


@asynccontextmanager
async def open_prometheus(settings: PrometheusSettings, context: Context) -> AsyncIterator[object]:
    """The extension; nothing to connect."""
    yield Prometheus()


@hookimpl
def register_extensions() -> list[Kind[object]]:
    """Offers the kind `prometheus`."""
    return [Kind("prometheus", PrometheusSettings, open_prometheus)]
