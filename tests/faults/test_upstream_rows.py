"""RELIABILITY 3, F1 to F6: upstreams that fail. What other files prove is listed in `proven.py`."""

import asyncio
import email.utils
import re
import time

import pytest

from muxer.testing import Act, Asked, Fail, Say, Stall
from tests.proxy import PATIENCE_S, QUESTION, OpenProxy, events

PARIS = Say(text="Paris")


@pytest.mark.parametrize(
    ("said", "pause_s"),
    [("90", 90), ("600", 120), ("date", 100)],
    ids=["F1-seconds", "F1-capped", "F1-date"],
)
async def test_fault_f1_a_model_is_left_alone_for_as_long_as_it_says(proxy: OpenProxy, said: str, pause_s: int) -> None:
    header = email.utils.formatdate(time.time() + 100, usegmt=True) if said == "date" else said
    opened = await proxy(Fail(429, {"Retry-After": header}), PARIS)
    assert (await opened.chat()).headers["x-muxer-model"] == "large"
    shown = (await (await opened.ask("/v1/route", {"messages": QUESTION})).json())["candidates"]
    (why,) = [one["why"] for one in shown if one["model"] == "small"]
    found = re.fullmatch(r"set aside for (\d+) s more after upstream_rate_limited", why)
    assert found is not None and pause_s - PATIENCE_S < int(found[1]) <= pause_s  # less what it took until here
    assert [call.model for call in opened.upstream.calls] == ["small-1", "large-1"]
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded and accounts.presumed == accounts.held == 0


class Burst:
    """Fails so many of ten calls."""

    def __init__(self, tenths: int) -> None:
        self._tenths = tenths
        self._calls = 0

    def play(self, asked: Asked) -> Act:
        """An error that bills nothing, or an answer."""
        self._calls += 1
        return (Fail(500) if self._calls % 10 < self._tenths else PARIS).play(asked)


CALLERS, EACH = 8, 40


@pytest.mark.parametrize("tenths", [2, 5, 10], ids=["F2-20", "F2-50", "F2-100"])
async def test_fault_f2_a_burst_of_errors_reaches_nobody_where_another_model_is_well(
    proxy: OpenProxy, tenths: int
) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 1000}]")
    burst = Burst(tenths)

    class ByModel:
        def play(self, asked: Asked) -> Act:
            return (burst if asked.model == "small-1" else PARIS).play(asked)

    opened.upstream.default = ByModel()

    async def caller() -> list[int]:
        return [(await opened.chat()).status for _ in range(EACH)]

    statuses = [one for many in await asyncio.gather(*(caller() for _ in range(CALLERS))) for one in many]
    assert statuses == [200] * (CALLERS * EACH)
    records = [record async for record in opened.store.records(0, {}, CALLERS * EACH)]
    legs = [[attempt.model for attempt in record.attempts] for record in records]
    assert all(one in (["small"], ["small", "large"], ["large"]) for one in legs)  # nobody asks the same model again
    asked_small = sum(one[0] == "small" for one in legs)
    # Those under way when it was set aside come on top of the five failures that it took.
    assert tenths < 10 or asked_small <= 5 + CALLERS
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded and accounts.held == accounts.presumed == 0


async def test_fault_f3_a_resolver_that_does_not_answer_costs_only_the_time_of_a_connection(
    proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, resolve = asyncio.get_running_loop(), asyncio.get_running_loop().getaddrinfo

    async def stuck(host: str, *args: object, **fields: object) -> object:
        if host == "slow.invalid":
            await asyncio.sleep(600)
        return await resolve(host, *args, **fields)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(loop, "getaddrinfo", stuck)
    opened = await proxy(
        PARIS,
        providers='{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}, '
        'lost: {kind: openai, api_key: k, base_url: "http://slow.invalid/v1", connect_timeout_s: 0.1}}',
        models="{small: {provider: lost, price: free}, large: {provider: main, price: free}}",
    )
    response = await opened.chat()
    assert (response.status, response.headers["x-muxer-model"]) == (200, "large")
    first, _ = (await opened.record(response)).attempts
    assert (first.outcome, first.error) == ("none", "upstream_unreachable")


async def test_fault_f6_a_stream_that_drips_and_then_stalls_ends_with_an_error_event(proxy: OpenProxy) -> None:
    providers = '{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1", idle_timeout_s: 0.2}}'
    opened = await proxy(Stall(after_pieces=3, seconds=600, then=Say(text="one two three")), providers=providers)
    stream = await events(await opened.chat(stream=True))
    assert stream.text.strip() == "one two" and not stream.is_done
    assert stream.data[-1]["error"]["code"] == "upstream_timeout"
    record, accounts = await opened.last_record(), await opened.accounts()
    assert [one.outcome for one in record.attempts] == ["presumed"]
    assert (accounts.held, accounts.bill <= accounts.presumed) == (0, True)
    await opened.upstream.idle()
    assert len(opened.upstream.abandoned) == 1
