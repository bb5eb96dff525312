"""`/metrics` as Prometheus reads it."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from muxer_prometheus import MAX_SERIES, Prometheus, PrometheusSettings, open_prometheus, register_extensions
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from muxer import ALL_METRICS, HasRoutes, IsMeter, Meter, Metric
from muxer.testing import open_context

BY_NAME = {metric.name: metric for metric in ALL_METRICS}
REQUESTS = BY_NAME["muxer_requests_total"]
SECONDS = BY_NAME["muxer_request_seconds"]
IN_FLIGHT = BY_NAME["muxer_requests_in_flight"]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
DOCS = Path(__file__).parents[2] / "docs/plugins/prometheus.md"


class Scraper:
    """Prometheus, as far as this test needs it."""

    def __init__(self, meter: Meter, client: "TestClient[web.Request, web.Application]") -> None:
        self.meter = meter
        self.client = client

    async def page(self, accept: str = "") -> tuple[str, str]:
        async with self.client.get("/metrics", headers={"Accept": accept}) as response:
            assert response.status == 200
            return response.headers["Content-Type"], await response.text()

    async def families(self) -> list[Family]:
        return list(parse((await self.page())[1]))

    async def values(self) -> dict[tuple[str, ...], float]:
        """Each series, by its name and label values in the order of their names."""
        samples = [sample for family in await self.families() for sample in family.samples]
        return {(s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for s in samples}


@asynccontextmanager
async def opened() -> AsyncIterator[Scraper]:
    async with open_context() as context, open_prometheus(PrometheusSettings(), context) as extension:
        assert isinstance(extension, IsMeter) and isinstance(extension, HasRoutes)
        app = web.Application()
        for route in extension.routes():
            app.router.add_route(route.method, route.path, route.handler)
        async with TestClient(TestServer(app)) as client:
            yield Scraper(extension.meter, client)


def touch_everything(meter: Meter) -> None:
    for metric in ALL_METRICS:
        take = {"counter": meter.add, "gauge": meter.set, "histogram": meter.observe}[metric.kind]
        take(metric, 1, *(f"a {name}" for name in metric.labels))


def test_offers_one_route_for_keys_that_read_metrics() -> None:
    (kind,) = register_extensions()
    (route,) = Prometheus().routes()
    assert kind.name == "prometheus"
    assert (route.method, route.path, route.scope) == ("GET", "/metrics", "metrics")


async def test_names_kinds_and_labels_are_those_declared() -> None:
    async with opened() as scraper:
        touch_everything(scraper.meter)
        text = (await scraper.page())[1]
    for metric in ALL_METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n# HELP" not in text
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
        line = next(line for line in text.splitlines() if line.startswith(metric.name) and "le=" not in line)
        assert all(f'{name}="a {name}"' in line for name in metric.labels)


async def test_shows_no_series_that_nobody_declared() -> None:
    async with opened() as scraper:
        touch_everything(scraper.meter)
        names = {name for name, *_ in await scraper.values()}
    wanted = {
        metric.name + ending
        for metric in ALL_METRICS
        for ending in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
    }
    assert {name for name in names if name.startswith("muxer_")} == wanted


async def test_counts_right() -> None:
    async with opened() as scraper:
        for amount in (1, 2.5):
            scraper.meter.add(REQUESTS, amount, "code", "m-1", "p-1", "200")
        scraper.meter.set(IN_FLIGHT, 7)
        scraper.meter.set(IN_FLIGHT, 3)
        scraper.meter.observe(SECONDS, 0.3, "code")
        values = await scraper.values()
    assert values["muxer_requests_total", "m-1", "p-1", "code", "200"] == 3.5
    assert values["muxer_requests_in_flight",] == 3
    assert [values["muxer_request_seconds_bucket", le, "code"] for le in ("0.25", "0.5", "+Inf")] == [0, 1, 1]
    assert values["muxer_request_seconds_sum", "code"] == 0.3


async def test_metrics_without_labels_start_at_zero() -> None:
    async with opened() as scraper:
        values = await scraper.values()
    assert values["muxer_budget_overrun_total",] == values["muxer_held_usd",] == 0


async def test_says_how_the_process_does() -> None:
    async with opened() as scraper:
        names = {name for name, *_ in await scraper.values()}
    assert names >= {"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total", "python_info"}


async def test_speaks_openmetrics_where_it_is_asked_for() -> None:
    async with opened() as scraper:
        touch_everything(scraper.meter)
        content_type, page = await scraper.page(f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5")
        plain_type, _ = await scraper.page("*/*")
    assert content_type.startswith(OPENMETRICS)
    assert plain_type.startswith("text/plain; version=0.0.4")
    families = list(parse_openmetrics(page))  # type: ignore[no-untyped-call]  # the library leaves it untyped
    assert {metric.name.removesuffix("_total") for metric in ALL_METRICS} <= {family.name for family in families}
    assert "_created" not in page


async def test_the_number_of_series_is_bounded() -> None:
    async with opened() as scraper:
        for number in range(5_000):
            scraper.meter.add(REQUESTS, 1, "code", f"m-{number}", "p-1", "200")
            scraper.meter.observe(SECONDS, 1, f"r-{number}")
        touch_everything(scraper.meter)
        values = await scraper.values()
    assert MAX_SERIES - 20 <= len(values) <= MAX_SERIES
    counts = {labels: value for labels, value in values.items() if labels[0] == "muxer_requests_total"}
    assert sum(counts.values()) == 5_001
    assert counts["muxer_requests_total", "other", "other", "other", "other"] > 3_000
    assert values["muxer_request_seconds_count", "other"] > 4_000


async def test_series_known_before_the_bound_stay_themselves() -> None:
    async with opened() as scraper:
        scraper.meter.add(REQUESTS, 1, "code", "m-1", "p-1", "200")
        for number in range(5_000):
            scraper.meter.add(REQUESTS, 1, "code", f"x-{number}", "p-1", "200")
        scraper.meter.add(REQUESTS, 1, "code", "m-1", "p-1", "200")
        values = await scraper.values()
    assert values["muxer_requests_total", "m-1", "p-1", "code", "200"] == 2


async def test_takes_a_plugins_own_metric() -> None:
    mine = Metric("mine_total", "counter", "Mine.", ("what",))
    async with opened() as scraper:
        scraper.meter.add(mine, 2, "this")
        assert (await scraper.values())["mine_total", "this"] == 2


async def test_leaves_the_global_registry_alone() -> None:
    before = {family.name for family in REGISTRY.collect()}
    async with opened(), opened() as second:
        touch_everything(second.meter)
    assert {family.name for family in REGISTRY.collect()} == before


def test_the_docs_list_every_metric() -> None:
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| `muxer_")]
    wanted = [
        [f"`{metric.name}`", metric.kind, " ".join(f"`{name}`" for name in metric.labels) or "none", metric.help]
        for metric in ALL_METRICS
    ]
    assert rows == wanted


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c", "d", "e")])
def test_a_wrong_number_of_labels_is_an_error(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        Prometheus().meter.add(REQUESTS, 1, *labels)


WORKER = """
import sys
from muxer_prometheus import PrometheusMeter
from prometheus_client.exposition import generate_latest
from muxer import ALL_METRICS

meter, value = PrometheusMeter(), float(sys.argv[1])
for metric in ALL_METRICS:
    take = {"counter": meter.add, "gauge": meter.set, "histogram": meter.observe}[metric.kind]
    take(metric, value, *("x" for _ in metric.labels))
print(generate_latest(meter.exposed).decode())
"""


def test_workers_show_one_page(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for value in ("3", "2"):
        command = [sys.executable, "-c", WORKER, value]
        page = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    samples = [sample for family in parse(page) for sample in family.samples]
    values = {sample.name: sample.value for sample in samples if "le" not in sample.labels}
    assert values["muxer_requests_total"] == values["muxer_request_seconds_sum"] == 5
    assert values["muxer_request_seconds_count"] == 2
    assert values["muxer_requests_in_flight"] == 5
    assert values["muxer_provider_up"] == values["muxer_held_usd"] == 2
    assert values["muxer_config_info"] == values["muxer_loop_lag_seconds"] == 3
    assert {sample.labels.get("pid") for sample in samples} == {None}
    assert not any(name.startswith("process_") or name.endswith("_created") for name in values)
