"""Attempt after attempt: who is asked next, who is passed over, and what each attempt costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from muxer.answers import collect
from muxer.breakers import Breakers
from muxer.catalog import Model
from muxer.dispatch import Dispatcher
from muxer.failures import SetAside, UpstreamAuth, UpstreamError
from muxer.plans import Candidate
from muxer.retries import BACKOFF_S, LONGEST_BACKOFF_S, RetryBudget, pause_s
from muxer.testing import Behaviour, Cut, Fail, ManualClock, Raw, Say, Stall, a_call, a_request
from muxer.types import Attempt, Call, Chunk, ToolCallDelta, Usage
from tests.proxy import SECTIONS, Lines, OpenProxy, Silent, events

HASTY = """
  hasty: {kind: openai, api_key: k, base_url: "UPSTREAM/v1", first_byte_timeout_s: 0.1}
  main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}"""
HASTY_FIRST = SECTIONS["models"].replace("main", "hasty", 1)
THREE_AND_ONE_MORE = """
  a: {provider: main, price_usd_per_million: {input: 1, output: 2}}
  b: {provider: main, price_usd_per_million: {input: 1, output: 2}}
  c: {provider: main, price_usd_per_million: {input: 1, output: 2}}
  d: {provider: main, price_usd_per_million: {input: 1, output: 2}}"""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Fail(401), "none"),
        (Fail(429), "none"),
        (Fail(500), "none"),
        (Fail(529), "none"),
        (Cut(), "presumed"),
        (Cut(after_bytes=0), "presumed"),
        (Stall(), "presumed"),
        (Raw(), "presumed"),
    ],
    ids=["401", "429", "500", "529", "cut", "cut after headers", "too late", "empty"],
)
async def test_the_next_candidate_answers_when_the_first_fails_before_a_byte(
    proxy: OpenProxy, behaviour: Behaviour, outcome: str, stream: bool
) -> None:
    models = HASTY_FIRST if isinstance(behaviour, Stall) else SECTIONS["models"]
    opened = await proxy(behaviour, Say(text="Paris"), providers=HASTY, models=models)
    response = await opened.chat(stream=stream)
    body = await response.read()
    record, accounts = await opened.record(response), await opened.accounts()
    assert (response.status, response.headers["x-muxer-model"], b"Paris" in body) == (200, "large", True)
    assert [(one.model, one.outcome) for one in record.attempts] == [("small", outcome), ("large", "exact")]
    assert (record.state, record.model, accounts.spent, accounts.held) == ("done", "large", record.cost_nanos, 0)
    assert accounts.bill <= accounts.spent + accounts.presumed


async def test_the_next_candidate_answers_when_the_first_cannot_be_reached(proxy: OpenProxy) -> None:
    opened = await proxy(
        providers='{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}, '
        'gone: {kind: openai, api_key: k, base_url: "http://127.0.0.1:9/v1"}}',
        models="{small: {provider: gone, price: free}, large: {provider: main, price: free}}",
    )
    response = await opened.chat()
    assert (response.status, response.headers["x-muxer-model"]) == (200, "large")
    assert [one.outcome for one in (await opened.record(response)).attempts] == ["none", "exact"]


async def test_metadata_counts_every_attempt(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Say(text="Paris"))
    metadata = (await (await opened.chat()).json())["router_metadata"]
    assert [(one["model"], one["outcome"], one["cost_usd"]) for one in metadata["attempts"]] == [
        ("small", "none", "0"),
        ("large", "exact", "0.00012"),
    ]
    assert (metadata["selected_model"], metadata["estimated_cost"]) == ("large", 0.00012)


async def test_nobody_else_is_asked_when_the_request_itself_is_wrong(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(400))
    response = await opened.chat()
    error = (await response.json())["error"]
    assert (response.status, error["code"], "scripted to fail" in error["message"]) == (400, "upstream_refused", True)
    assert len(opened.upstream.calls) == 1


async def test_nobody_else_is_asked_once_a_stream_has_begun(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(after_bytes=1_000, then=Say(text="word " * 100)))
    stream = await events(await opened.chat(stream=True))
    assert (stream.is_done, len(opened.upstream.calls)) == (False, 1)


async def test_three_candidates_are_asked_and_no_more(proxy: OpenProxy) -> None:
    opened = await proxy(
        Fail(500), Fail(429), Fail(503), models=THREE_AND_ONE_MORE, routes="[{name: r, use: [a, b, c, d]}]"
    )
    response = await opened.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_error")
    assert [call.model for call in opened.upstream.calls] == ["a", "b", "c"]
    assert (await opened.accounts()).held == 0


async def test_a_named_model_falls_back_only_to_its_own_fallbacks(proxy: OpenProxy) -> None:
    models = THREE_AND_ONE_MORE.replace("a: {provider: main,", "a: {provider: main, fallbacks: [c],")
    opened = await proxy(Fail(500), Say(), *[Fail(500)] * 3, models=models, routes="[{name: r, use: [a, b]}]")
    assert (await opened.chat(model="a")).headers["x-muxer-model"] == "c"
    assert (await opened.chat(model="b")).status == 502


async def test_a_second_attempt_that_does_not_fit_the_budget_is_not_made(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(), limits="[{per: user, daily_usd: 0.0005}]")
    response = await opened.chat(max_tokens=100)
    assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_unreachable")
    record, accounts = await opened.record(response), await opened.accounts()
    assert [one.model for one in record.attempts] == ["small"]
    assert (accounts.held, accounts.presumed) == (0, record.presumed_nanos)
    assert accounts.bill <= accounts.presumed


async def test_a_second_attempt_gets_a_smaller_output_cap_where_the_budget_is_short(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Say(), limits="[{per: user, daily_usd: 0.02}]")
    response = await opened.chat()
    caps = [call.body["max_tokens"] for call in opened.upstream.calls]
    assert caps[0] == 4_096 and 256 <= int(str(caps[1])) < 1_000
    assert response.headers["x-muxer-output-cap"] == str(caps[1])


async def test_the_cap_in_the_header_is_that_of_the_model_that_answered(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Say(), limits="[{per: model, where: {model: small}, daily_usd: 0.002}]")
    response = await opened.chat()
    caps = [call.body.get("max_tokens") for call in opened.upstream.calls]
    assert int(str(caps[0])) < 4_096 and caps[1] is None
    assert "x-muxer-output-cap" not in response.headers


async def test_a_model_that_asked_for_a_pause_is_passed_over(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(429, {"Retry-After": "60"}))
    await opened.chat()
    response = await opened.chat()
    record = await opened.record(response)
    assert [call.model for call in opened.upstream.calls] == ["small-1", "large-1", "large-1"]
    assert [(one.model, one.gate) for one in record.excluded] == [("small", "cooling")]
    states = {m["name"]: m["state"] for m in (await opened.get("/providers"))["providers"][0]["models"]}
    assert states == {"small": "cooling", "large": "available"}


async def test_nobody_available_is_503_and_says_why(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(401))
    await opened.chat(model="small")
    response = await opened.chat(model="small")
    error = (await response.json())["error"]
    assert (response.status, error["code"], "upstream_auth" in error["message"]) == (503, "no_candidate", True)
    assert len(opened.upstream.calls) == 1


async def test_a_provider_without_a_key_is_passed_over(proxy: OpenProxy) -> None:
    opened = await proxy(
        providers='{main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}, '
        'keyless: {kind: openai, api_key: "${ABSENT}"}}',
        models="{small: {provider: keyless, price: free}, large: {provider: main, price: free}}",
    )
    record = await opened.record(await opened.chat())
    assert (record.model, [(one.model, one.gate) for one in record.excluded]) == ("large", [("small", "unavailable")])


MODEL = Model(name="m", provider="p", upstream="m-1")
CANDIDATE = Candidate(
    model=MODEL, bound_nanos=0, floor_nanos=0, expected_nanos=0, claims=(), quotas=(), bound_input_tokens=0
)


class Endless:
    """A provider whose streams never end by themselves, and stay referenced."""

    def __init__(self) -> None:
        self.streams: list[AsyncIterator[Chunk]] = []
        self.closed = 0

    def astreaming(self, call: Call) -> AsyncIterator[Chunk]:
        self.streams.append(self._chunks())
        return self.streams[-1]

    async def _chunks(self) -> AsyncIterator[Chunk]:
        try:
            while True:
                yield Chunk(text="word ")
        finally:
            self.closed += 1


async def test_a_stream_is_closed_when_its_dispatch_ends() -> None:
    provider = Endless()
    dispatcher = Dispatcher({"p": provider}, Breakers(ManualClock(), Silent()), Silent(), Lines())
    call = a_call(a_request(stream=True))
    async with dispatcher.begin(estimate_tokens=1) as dispatch:
        await dispatch.first_answer([CANDIDATE], 0, no_more, lambda candidate, granted: call)
        assert provider.closed == 0
    assert provider.closed == 1


async def no_more(leg: int, candidate: Candidate, ended: Attempt | None) -> int | None:
    raise AssertionError("only one attempt is made")


async def test_collects_interleaved_choices_and_tool_calls() -> None:
    async def chunks() -> AsyncIterator[Chunk]:
        yield Chunk(index=1, text="B")
        yield Chunk(index=0, tool_calls=(ToolCallDelta(1, "t2", "g", "{"), ToolCallDelta(0, "t1", "f", "")))
        yield Chunk(index=0, tool_calls=(ToolCallDelta(0, None, None, "{}"), ToolCallDelta(1, None, None, "}")))
        yield Chunk(index=1, text="b", reasoning="hm", finish_reason="length", dropped=("seed",))
        yield Chunk(index=0, finish_reason="tool_calls", usage=Usage(1, 2))

    answer = await collect(chunks())
    first, second = answer.choices
    assert [(call.id, call.function.name, call.function.arguments) for call in first.tool_calls] == [
        ("t1", "f", "{}"),
        ("t2", "g", "{}"),
    ]
    assert (first.text, first.finish_reason) == (None, "tool_calls")
    assert (second.text, second.reasoning, second.finish_reason) == ("Bb", "hm", "length")
    assert (answer.usage, answer.dropped) == (Usage(1, 2), ("seed",))


async def test_waiting_for_a_connection_of_our_own_is_not_billed(proxy: OpenProxy) -> None:
    providers = """
  main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1", max_connections: 1, connect_timeout_s: 0.1}"""
    running = await proxy(Stall(), providers=providers, routes="[{name: default, use: [small]}]")
    first = asyncio.create_task(running.chat())
    await running.upstream.arrived(1)
    second = await running.chat()
    record = await running.record(second)
    assert (second.status, [attempt.outcome for attempt in record.attempts]) == (502, ["none"] * 3)
    running.upstream.gate.set()
    assert (await first).status == 200


ODD = "[openai, sqlite, tests.odd_plugin]"
ODD_PROVIDERS = """
  main: {kind: openai, api_key: k, base_url: "UPSTREAM/v1"}
  odd: {kind: odd, does: refuses}"""
ODD_MODELS = """
  small: {provider: main, price_usd_per_million: {input: 1, output: 2}}
  strange: {provider: odd, price_usd_per_million: {input: 1, output: 2}}"""


async def test_what_one_candidate_cannot_express_another_may(proxy: OpenProxy) -> None:
    routes = "[{name: default, use: [strange, small]}]"
    running = await proxy(plugins=ODD, providers=ODD_PROVIDERS, models=ODD_MODELS, routes=routes)
    response = await running.chat()
    assert (response.status, response.headers["x-muxer-model"]) == (200, "small")


async def test_what_a_fallback_cannot_express_does_not_hide_the_outage(proxy: OpenProxy) -> None:
    routes = "[{name: default, use: [small, strange]}]"
    running = await proxy(
        *[Fail(status=503)] * 2, plugins=ODD, providers=ODD_PROVIDERS, models=ODD_MODELS, routes=routes
    )
    assert (await running.chat()).status == 502


async def test_a_provider_whose_code_breaks_is_passed_over_and_told_once(proxy: OpenProxy) -> None:
    providers = ODD_PROVIDERS.replace("refuses", "raises")
    routes = "[{name: default, use: [strange, small]}]"
    running = await proxy(plugins=ODD, providers=providers, models=ODD_MODELS, routes=routes)
    for _ in range(2):
        response = await running.chat()
        assert (response.status, response.headers["x-muxer-model"]) == (200, "small")
        outcomes = [attempt.outcome for attempt in (await running.record(response)).attempts]
        assert outcomes == ["presumed", "exact"]
    (line,) = [line for line in running.log.lines if line["event"] == "plugin_failed"]
    assert line["component"] == "provider odd" and "sk-a-secret" not in str(running.log.lines)


FAILS_IN_PASSING = [Fail(500), Fail(503, {"Retry-After": "0.01"})]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_model_that_failed_in_passing_is_asked_again(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(*FAILS_IN_PASSING, Say(text="Paris"))
    response = await opened.chat(model="small", stream=stream)
    body = await response.read()
    record, accounts = await opened.record(response), await opened.accounts()
    assert (response.status, b"Paris" in body) == (200, True)
    assert [(one.model, one.outcome) for one in record.attempts] == [
        ("small", "none"),
        ("small", "none"),
        ("small", "exact"),
    ]
    assert accounts.bill == accounts.spent == record.cost_nanos and accounts.held == 0


async def test_every_candidate_has_its_turn_before_one_is_asked_again(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), Fail(500), Say())
    await opened.chat()
    assert [call.model for call in opened.upstream.calls] == ["small-1", "large-1", "small-1"]


@pytest.mark.parametrize("behaviour", [Cut(), Fail(503, {"Retry-After": "30"}), Fail(429), Fail(401)])
async def test_what_may_be_billed_or_wants_a_pause_is_not_asked_again(proxy: OpenProxy, behaviour: Behaviour) -> None:
    opened = await proxy(behaviour)
    assert (await opened.chat(model="small")).status >= 429
    assert len(opened.upstream.calls) == 1


async def test_a_cut_is_repeated_where_the_file_takes_the_risk_and_each_try_is_held(proxy: OpenProxy) -> None:
    models = "{small: {provider: main, retry_uncertain: true, price_usd_per_million: {input: 1, output: 2}}}"
    opened = await proxy(Cut(), Say(), models=models, routes="[{name: r, use: [small]}]")
    response = await opened.chat()
    record, accounts = await opened.record(response), await opened.accounts()
    assert [one.outcome for one in record.attempts] == ["presumed", "exact"]
    assert accounts.bill <= accounts.spent + accounts.presumed and accounts.presumed == record.presumed_nanos > 0


TOO_LONG = Fail(400, body=b'{"error":{"message":"too many","type":"x","code":"context_length_exceeded"}}')
DECLINED = Fail(400, body=b'{"error":{"message":"The response was filtered due to the content management policy"}}')


@pytest.mark.parametrize(
    ("behaviour", "cause", "code"),
    [(TOO_LONG, "context_length", "context_length_exceeded"), (DECLINED, "content_policy", "content_filter")],
    ids=["length", "policy"],
)
async def test_a_refusal_is_passed_on_unless_the_route_says_otherwise(
    proxy: OpenProxy, behaviour: Fail, cause: str, code: str
) -> None:
    use = "use: [small, large]"
    routes = f"[{{name: mild, when: 'chars < 0', {use}, fallback_on: [{cause}]}}, {{name: strict, {use}}}]"
    opened = await proxy(behaviour, Say(), behaviour, routes=routes)
    mild, strict = await opened.chat(model="auto:mild"), await opened.chat(model="auto:strict")
    assert (mild.status, mild.headers["x-muxer-model"]) == (200, "large")
    assert (strict.status, (await strict.json())["error"]["code"]) == (400, code)
    assert [one.outcome for one in (await opened.record(mild)).attempts] == ["none", "exact"]
    assert (await opened.accounts()).presumed == 0


async def test_of_several_pauses_the_caller_is_told_the_shortest(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(429, {"Retry-After": "7"}), Fail(429, {"Retry-After": "30"}))
    response = await opened.chat()
    assert (response.status, response.headers["Retry-After"]) == (429, "7")


async def test_a_model_set_aside_between_decision_and_turn_is_not_asked() -> None:
    breakers = Breakers(ManualClock(), Silent())
    breakers.failed(MODEL, "free", UpstreamAuth("no"))
    async with Dispatcher({"p": Endless()}, breakers, Silent(), Lines()).begin(1) as dispatch:
        with pytest.raises(SetAside, match="m is set aside for 30 s more"):
            await dispatch.first_answer([CANDIDATE], 0, no_more, lambda candidate, granted: a_call(a_request()))
        assert [one.outcome for one in dispatch.ended] == ["none"]


@pytest.mark.parametrize(("in_flight", "may_repeat"), [(1, 3), (15, 3), (20, 4), (100, 20)])
def test_a_fifth_of_the_requests_in_flight_may_repeat_and_always_three(in_flight: int, may_repeat: int) -> None:
    budget = RetryBudget()
    budget.in_flight = in_flight
    with ExitStack() as retries:
        while not budget.is_spent:
            retries.enter_context(budget.retry())
        assert budget.retrying == may_repeat
    assert budget.retrying == 0


@pytest.mark.parametrize("retry", [0, 1, 9])
def test_pauses_grow_to_a_bound_and_keep_the_upstream_s_own(retry: int) -> None:
    drawn = [pause_s(retry, UpstreamError("oops")) for _ in range(200)]
    ceiling_s = min(LONGEST_BACKOFF_S, BACKOFF_S * 2**retry)
    assert 0 <= min(drawn) < ceiling_s / 4 and ceiling_s * 3 / 4 < max(drawn) <= ceiling_s
    assert pause_s(retry, UpstreamError("oops", retry_after_s=5)) == 5
