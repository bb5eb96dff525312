"""Copies of records: each reaches its sink once, and a sink's faults reach nobody."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from muxer import sinks
from muxer.assemble import assemble
from muxer.config.load import load
from muxer.errors import ConfigInvalid
from muxer.fence import Fence
from muxer.measurements import Metric
from muxer.plugins import find_kinds
from muxer.prices import PriceTable
from muxer.testing import ManualClock
from muxer.types import Record
from tests.odd_guards import WRITTEN
from tests.proxy import SECTIONS, Lines, OpenProxy, Silent

PLUGINS = "[openai, sqlite, tests.odd_guards]"


class Counting(Silent):
    def __init__(self) -> None:
        self.dropped = 0.0

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        self.dropped += amount if metric.name == "muxer_dropped_records_total" else 0


class Held:
    """A sink that takes nothing while its gate is shut."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.taken: list[Sequence[Record]] = []

    async def write(self, records: Sequence[Record]) -> None:
        await self.gate.wait()
        self.taken.append(records)


def record(number: int) -> Record:
    return Record(id=f"req_{number}", at=0.0, api="openai.chat", state="done", user="alice", key="k")


def outlet(sink: Held, meter: Counting) -> sinks.Outlet:
    return sinks.Outlet("held", sink, Fence("sink held", meter, Lines(), ManualClock()), meter)


async def test_each_finished_request_reaches_the_sink_once(proxy: OpenProxy) -> None:
    running = await proxy(plugins=PLUGINS, sinks="[{kind: listener, fails: 1}]")
    responses = [await running.chat() for _ in range(3)]
    expected = [await running.record(response) for response in responses]
    async with asyncio.timeout(10):
        while len(found := [one for one in WRITTEN if one in expected]) < 3:
            await asyncio.sleep(0.01)
    assert found == expected


async def test_what_waits_is_offered_in_order_and_in_batches() -> None:
    sink, meter = Held(), Counting()
    one = outlet(sink, meter)
    for number in range(1_200):
        one.put(record(number))
    sink.gate.set()
    await one.close(10)
    assert [len(batch) for batch in sink.taken] == [500, 500, 200]
    assert [one.id for batch in sink.taken for one in batch] == [f"req_{n}" for n in range(1_200)]
    assert meter.dropped == 0


async def test_past_ten_thousand_the_oldest_is_dropped_and_counted() -> None:
    sink, meter = Held(), Counting()
    one = outlet(sink, meter)
    for number in range(sinks.MOST_WAITING + 5):
        one.put(record(number))
    sink.gate.set()
    await one.close(10)
    assert meter.dropped == 5 and sum(map(len, sink.taken)) == sinks.MOST_WAITING
    assert sink.taken[0][0].id == "req_5"


async def test_a_sink_that_hangs_holds_up_the_end_no_longer_than_the_grace() -> None:
    sink, meter = Held(), Counting()
    one = outlet(sink, meter)
    one.put(record(1))
    await one.close(0.01)
    assert meter.dropped == 1


@pytest.mark.parametrize("required", [True, False])
async def test_a_sink_that_cannot_be_opened_is_left_out_unless_required(
    tmp_path: Path, table: PriceTable, required: bool
) -> None:
    sections = {
        **SECTIONS,
        "plugins": PLUGINS,
        "sinks": f"[{{kind: listener, opens: false, required: {str(required).lower()}}}]",
    }
    (tmp_path / "routing.yaml").write_text("\n".join(f"{name}: {text}" for name, text in sections.items()))
    configuration, log = load(tmp_path / "routing.yaml", {}, find_kinds, table=table), Lines()
    if required:
        with pytest.raises(ConfigInvalid, match=r"sinks\[0\]: kind 'listener' cannot be opened: OSError: nobody there"):
            async with assemble(configuration, table, log):
                pass
        return
    async with assemble(configuration, table, log):
        assert any(line["event"] == "component_left_out" for line in log.lines)
