"""The whole proxy while another process has its file locked (F13)."""

import asyncio
from pathlib import Path

from muxer.testing import Say, Stall
from muxer.types import Usage
from tests.plugins.test_muxer_sqlite_faults import PATIENCE_S, another_process
from tests.proxy import OpenProxy, Proxy

STORE = "{kind: sqlite, path: muxer.db, busy_timeout_s: 0.1}"


async def settled(proxy: Proxy) -> None:
    """Waits until nothing is held any more."""
    async with asyncio.timeout(PATIENCE_S):
        while await proxy.store.held() != (0, 0):
            await asyncio.sleep(0.01)


async def test_a_locked_file_refuses_new_requests_and_loses_no_running_one(proxy: OpenProxy, tmp_path: Path) -> None:
    one = await proxy(Stall(then=Say(usage=Usage(input_tokens=10, output_tokens=20))), store=STORE)
    running = asyncio.create_task(one.chat())
    await one.upstream.arrived(1)
    async with another_process(tmp_path, "BEGIN IMMEDIATE"):
        for _ in range(3):
            refused = await one.chat()
            assert refused.status == 503
            assert (await refused.json())["error"]["code"] == "budget_store_unavailable"
        assert (await one.client.get("/readyz")).status == 503
        one.upstream.gate.set()
        assert (await running).status == 200  # answered, though its cost cannot be written yet
    await one.log.wait_for("store_outage_over")
    await settled(one)
    assert (await one.client.get("/readyz")).status == 200
    accounts = await one.accounts()
    assert 0 < accounts.bill == accounts.spent == accounts.recorded
    events = [str(line["event"]) for line in one.log.lines if str(line["event"]).startswith("store_")]
    told = ["store_available", "store_outage", "store_outage_over", "store_unavailable"]
    assert (sorted(events), len(one.upstream.calls)) == (told, 1)
