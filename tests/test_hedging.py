"""A second attempt beside a slow first: who is asked and when, that both are held, and what the loser costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from muxer.breakers import Breakers
from muxer.catalog import Model
from muxer.dispatch import Dispatcher
from muxer.edge import PATIENCE
from muxer.failures import UpstreamRefused
from muxer.hedging import Piped, Race
from muxer.plans import Terms
from muxer.testing import Behaviour, Fail, ManualClock, Say, Stall, a_call, a_request
from muxer.types import Answer, Attempt, Call, Choice, Chunk, Usage
from tests.proxy import Lines, OpenProxy, Proxy, Silent, events, nanos
from tests.test_dispatch import CANDIDATE, THREE_AND_ONE_MORE

SLOW = Stall()  # until the gate opens
FOR_EVER = Stall(seconds=600)
ROUTE = "[{name: r, use: [small, large], hedge_after_s: 0.02}]"
PARIS = Say(text="Paris is it")


async def hedging(proxy: OpenProxy, small: Behaviour, large: Behaviour, **sections: str) -> Proxy:
    """A proxy whose candidates behave so."""
    sections.setdefault("routes", ROUTE)
    opened = await proxy(clock=time.time, patience=PATIENCE, **sections)
    opened.upstream.script("small-1", small)
    opened.upstream.script("large-1", large)
    return opened


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_second_answers_and_what_the_first_may_have_cost_stays_counted(
    proxy: OpenProxy, stream: bool
) -> None:
    opened = await hedging(proxy, SLOW, PARIS)
    response = await opened.chat(stream=stream)
    body = await response.read()
    record, accounts = await opened.record(response), await opened.accounts()
    assert (response.status, response.headers["x-muxer-model"], b"Paris" in body) == (200, "large", True)
    first, second = record.attempts
    assert (first.model, first.outcome, first.error) == ("small", "presumed", "outrun")
    assert (second.model, second.outcome, record.answered) == ("large", "exact", second)
    assert (accounts.held, accounts.presumed, accounts.spent) == (0, first.presumed_nanos, second.cost_nanos)
    assert accounts.bill <= accounts.spent + accounts.presumed
    await opened.upstream.idle()
    assert [call.model for call in opened.upstream.abandoned] == ["small-1"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_first_may_still_be_the_first_to_answer(proxy: OpenProxy, stream: bool) -> None:
    opened = await hedging(proxy, replace(SLOW, then=PARIS), FOR_EVER)
    asking = asyncio.create_task(opened.chat(stream=stream))
    await opened.upstream.arrived(2)
    assert (await opened.store.held())[0] > 0
    opened.upstream.gate.set()
    response = await asking
    body = await response.read()
    record, accounts = await opened.record(response), await opened.accounts()
    assert (response.headers["x-muxer-model"], record.model, b"Paris" in body) == ("small", "small", True)
    assert [(one.model, one.outcome, one.error) for one in record.attempts] == [
        ("small", "exact", ""),
        ("large", "presumed", "outrun"),
    ]
    assert record.answered == record.attempts[0]
    assert (accounts.held, accounts.presumed) == (0, record.attempts[1].presumed_nanos)
    await opened.upstream.idle()
    assert [call.model for call in opened.upstream.abandoned] == ["large-1"]


async def test_both_are_held_while_both_are_under_way(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, SLOW, FOR_EVER)
    asking = asyncio.create_task(opened.chat(max_tokens=100))
    await opened.upstream.arrived(2)
    shown = (await (await opened.ask("/v1/route", BODY)).json())["candidates"]
    assert (await opened.store.held())[0] > max(nanos(candidate["bound_usd"]) for candidate in shown) > 0
    opened.upstream.gate.set()
    assert (await asking).status == 200


BODY = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 100}


async def test_a_stream_that_won_comes_whole_with_its_usage(proxy: OpenProxy) -> None:
    text = " ".join(["word"] * 300)
    opened = await hedging(proxy, SLOW, Say(text=text))
    stream = await events(await opened.chat(stream=True, stream_options={"include_usage": True}))
    assert (stream.is_done, stream.text.split()) == (True, text.split())
    assert stream.data[-1]["usage"]["completion_tokens"] == 300
    assert (await opened.last_record()).usage.output_tokens == 300


async def test_one_that_answers_in_time_is_alone(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, PARIS, PARIS, routes=ROUTE.replace("0.02", "60"))
    assert (await opened.chat()).status == 200
    assert [call.model for call in opened.upstream.calls] == ["small-1"]


async def test_a_second_that_does_not_fit_the_budget_beside_the_first_is_not_sent(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, Stall(seconds=0.2), PARIS, limits="[{per: user, daily_usd: 0.0005}]")
    response = await opened.chat(max_tokens=100)
    assert (response.status, len(opened.upstream.calls)) == (200, 1)
    record, accounts = await opened.record(response), await opened.accounts()
    assert [one.outcome for one in record.attempts] == ["exact"]
    assert accounts.bill == accounts.spent and (accounts.held, accounts.presumed) == (0, 0)


async def test_nobody_hedges_while_too_many_requests_retry(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, Stall(seconds=0.2), PARIS)
    opened.assembly.parts.dispatcher.retries.retrying = 3
    assert (await opened.chat()).status == 200
    assert len(opened.upstream.calls) == 1


@pytest.mark.parametrize("takes_risk", [False, True])
async def test_the_same_model_is_asked_twice_only_where_the_file_takes_that_risk(
    proxy: OpenProxy, takes_risk: bool
) -> None:
    price = "price_usd_per_million: {input: 1, output: 2}"
    models = f"{{only: {{provider: main, retry_uncertain: {str(takes_risk).lower()}, {price}}}}}"
    opened = await proxy(
        Stall(seconds=0.2), PARIS, models=models, routes="[{name: r, use: [only], hedge_after_s: 0.02}]"
    )
    response = await opened.chat()
    attempts = (await opened.record(response)).attempts
    assert [one.error for one in attempts] == (["outrun", ""] if takes_risk else [""])


async def test_a_hedge_that_fails_leaves_the_first_its_time(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, replace(SLOW, then=PARIS), Fail(500))
    asking = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(2)
    opened.upstream.gate.set()
    attempts = (await opened.record(await asking)).attempts
    assert [(one.model, one.outcome) for one in attempts] == [("small", "exact"), ("large", "none")]
    assert (await opened.accounts()).presumed == 0


async def test_a_refusal_of_one_does_not_end_the_other(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, replace(SLOW, then=PARIS), Fail(400))
    asking = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(2)
    opened.upstream.gate.set()
    assert (await asking).headers["x-muxer-model"] == "small"


async def test_a_third_is_asked_when_both_failed_and_never_hedged(proxy: OpenProxy) -> None:
    routes = "[{name: r, use: [a, b, c, d], hedge_after_s: 0.02}]"
    opened = await proxy(models=THREE_AND_ONE_MORE, routes=routes)
    opened.upstream.script("a", replace(SLOW, then=Fail(500)))
    opened.upstream.script("b", replace(SLOW, then=Fail(503)))
    opened.upstream.script("c", Stall(seconds=0.1, then=PARIS))
    asking = asyncio.create_task(opened.chat())
    await opened.upstream.arrived(2)
    opened.upstream.gate.set()
    response = await asking
    record, accounts = await opened.record(response), await opened.accounts()
    assert [(one.model, one.outcome) for one in record.attempts] == [("a", "none"), ("b", "none"), ("c", "exact")]
    assert accounts.bill == accounts.spent and (accounts.held, accounts.presumed) == (0, 0)


async def test_a_model_that_is_always_outrun_is_set_aside_as_one_that_fails(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, FOR_EVER, PARIS, limits="[{per: user, daily_usd: 100}]")
    opened.upstream.script("small-1", *[FOR_EVER] * 6)
    for _ in range(6):
        assert (await opened.chat(max_tokens=10)).headers["x-muxer-model"] == "large"
    assert [call.model for call in opened.upstream.calls].count("small-1") == 5
    assert ("small", "cooling") in {(one.model, one.gate) for one in (await opened.last_record()).excluded}


async def test_the_deadline_of_the_route_ends_both(proxy: OpenProxy) -> None:
    routes = "[{name: r, use: [small, large], hedge_after_s: 0.02, timeout_s: 0.3}]"
    opened = await hedging(proxy, FOR_EVER, FOR_EVER, routes=routes)
    response = await opened.chat()
    record, accounts = await opened.record(response), await opened.accounts()
    assert (response.status, (await response.json())["error"]["code"]) == (504, "upstream_timeout")
    assert [(one.outcome, one.error) for one in record.attempts] == [("presumed", "abandoned")] * 2
    assert (accounts.held, accounts.presumed) == (0, record.presumed_nanos)
    assert accounts.bill <= accounts.presumed
    await opened.upstream.idle()
    assert len(opened.upstream.abandoned) == 2


async def test_under_a_soft_budget_the_loser_counts_with_what_it_was_expected_to_cost(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, SLOW, PARIS, limits="[{per: user, daily_usd: 1, hold: expected}]")
    record = await opened.record(await opened.chat(max_tokens=100))
    assert 0 < record.attempts[0].presumed_nanos == record.expected_nanos


async def test_hedges_are_measured_and_shown_beforehand(proxy: OpenProxy) -> None:
    opened = await hedging(proxy, SLOW, PARIS, plugins="[openai, sqlite, prometheus]")
    await opened.chat()
    metrics = await (await opened.client.get("/metrics")).text()
    assert 'muxer_hedges_total{from="small",result="won",to="large"} 1.0' in metrics
    shown = await (await opened.ask("/v1/route", BODY)).json()
    assert shown["hedge"] == {"after_s": 0.02, "model": "large"}


OTHER = replace(CANDIDATE, model=Model(name="other", provider="p", upstream="o-1"))
NOW = Terms(hedge_after_s=0.0)


class Together:
    """A provider whose answers come all in the same turn of the loop, once two are asked for."""

    def __init__(self) -> None:
        self._asked = 0
        self._both = asyncio.Event()
        self.closed = 0

    async def _wait(self) -> None:
        self._asked += 1
        if self._asked == 2:
            self._both.set()
        await self._both.wait()

    async def acompletion(self, call: Call) -> Answer:
        await self._wait()
        return Answer(choices=(Choice(text=call.model),), usage=Usage(5, 7))

    async def astreaming(self, call: Call) -> AsyncIterator[Chunk]:
        try:
            async with asyncio.timeout(60):  # open from one chunk to the next: it wants to be left by its own task
                await self._wait()
                while True:
                    yield Chunk(text=call.model)
        finally:
            self.closed += 1


async def granted(leg: int, candidate: object, ended: Attempt | None) -> int | None:
    assert (leg, ended) == (1, None)
    return 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_of_two_that_answer_at_once_one_serves_and_the_other_is_closed_and_counted(stream: bool) -> None:
    provider = Together()
    dispatcher = Dispatcher({"p": provider}, Breakers(ManualClock(), Silent()), Silent(), Lines())
    call = a_call(a_request(stream=stream))
    async with dispatcher.begin(estimate_tokens=1) as dispatch:
        answer = await dispatch.first_answer([CANDIDATE, OTHER], 0, granted, lambda candidate, granted: call, NOW)
        if not isinstance(answer, Answer):
            assert [chunk.text async for chunk in _some(answer, 3)] == [call.model] * 3
            assert provider.closed == 1
        (loser,) = dispatch.ended
        assert (loser.model, loser.outcome, loser.error) == ("other", "presumed" if stream else "exact", "outrun")
        dispatch.finish(Usage(5, 7), 1)
        assert [one.model for one in dispatch.ended] == ["m", "other"]
    assert provider.closed == (2 if stream else 0)


async def test_what_was_held_beside_one_that_answered_meanwhile_keeps_its_number() -> None:
    """I7: the store answers a number that it knows with what it took for it, so who is asked next needs another."""
    provider, first = Together(), set[asyncio.Task[Any]]()

    async def holds(leg: int, candidate: object, ended: Attempt | None) -> int | None:
        await provider.acompletion(a_call())  # with which the first is answered, too
        while not all(task.done() for task in first):
            await asyncio.sleep(0)
        return 0

    dispatcher = Dispatcher({"p": provider}, Breakers(ManualClock(), Silent()), Silent(), Lines())
    async with dispatcher.begin(estimate_tokens=1) as dispatch:
        running = asyncio.all_tasks()
        asking = asyncio.create_task(
            dispatch.first_answer([CANDIDATE, OTHER], 0, holds, lambda candidate, granted: a_call(), NOW)
        )
        while not first:
            await asyncio.sleep(0)
            first |= asyncio.all_tasks() - running - {asking}
        await asking
        assert (dispatch.count, dispatch.number) == (2, 0)
        assert [(one.model, one.outcome, one.error) for one in dispatch.ended] == [("other", "none", "outrun")]


async def _some(chunks: AsyncIterator[Chunk], count: int) -> AsyncIterator[Chunk]:
    for _ in range(count):
        yield await anext(chunks)


async def test_a_refusal_is_raised_when_the_other_fails_too() -> None:
    async def refuses() -> Sequence[int] | None:
        raise UpstreamRefused("no")

    async def fails() -> Sequence[int] | None:
        return None

    async with Race[Sequence[int]]() as race:
        race.enter(fails())
        race.enter(refuses())
        with pytest.raises(UpstreamRefused):
            await race.first()
        assert race.is_decided


async def test_a_piped_stream_ends_as_its_source_does() -> None:
    async def source() -> AsyncIterator[Chunk]:
        yield Chunk(text="a")
        raise UpstreamRefused("broken off")

    piped = Piped(source())  # type: ignore[arg-type]  # a generator, as all sources are
    assert (await anext(piped)).text == "a"
    for _ in range(2):
        with pytest.raises(UpstreamRefused):
            await anext(piped)
    await piped.aclose()
