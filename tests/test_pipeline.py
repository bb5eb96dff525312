"""One request from end to end: whatever becomes of it, the bill, the store and the records say the same."""

import asyncio
import json
import random

import pytest

from muxer.edge import Patience
from muxer.testing import Behaviour, Cut, Fail, Raw, Say, Slow, Stall
from muxer.types import Usage
from tests.proxy import SECTIONS, OpenProxy, Proxy, events, idle_client
from tests.values import damaged

IMPATIENT = """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1", first_byte_timeout_s: 0.1, idle_timeout_s: 0.1}"""
PATIENT = SECTIONS["providers"]
JSON = {"Content-Type": "application/json"}
LONG = Say(text="word " * 100)
COUNTS_AS_IT_GOES = Raw(
    pieces=tuple(
        b'data: {"choices":[{"delta":{"content":"word "}}],"usage":{"prompt_tokens":10,"completion_tokens":%d}}\n\n' % n
        for n in range(1, 9)
    ),
    billed=Usage(input_tokens=10, output_tokens=8),
)
COUNTED = Raw(
    pieces=(
        b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":1}}\n\n',
        b"data: [DONE]\n\n",
    ),
    billed=Usage(10, 1),
)
USAGE_AT = sum(map(len, COUNTED.pieces[:2]))
GARBAGE = Raw(pieces=(b"<html>busy</html>",), headers={"Content-Type": "text/html"}, billed=Usage(10, 20))
REFUSAL = Raw(pieces=(b'{"error":{"message":"busy"}}',), headers=JSON, billed=Usage(10, 20))
MOVED = {"Location": "http://127.0.0.1:9/"}

ENDINGS: dict[str, tuple[Behaviour, str]] = {
    "answered": (Say(), "exact"),
    "answered from the cache": (Say(usage=Usage(100, 20, cached_input_tokens=64)), "exact"),
    "answered for nothing": (Say(usage=Usage()), "exact"),
    "answered past its hold": (Say(usage=Usage(10**6, 10**6)), "exact"),
    "answered without usage": (Say(reports_usage=False), "presumed"),
    **{f"refused with {status}": (Fail(status), "none") for status in (400, 401, 402, 403, 404, 422, 429, 500, 503)},
    "redirected": (Fail(302, MOVED), "presumed"),
    "cut before headers": (Cut(), "presumed"),
    "cut after headers": (Cut(after_bytes=0), "presumed"),
    "cut in the middle": (Cut(after_bytes=300, then=LONG), "presumed"),
    "cut while it counts": (Cut(after_bytes=300, then=COUNTS_AS_IT_GOES), "presumed"),
    "too late": (Stall(), "presumed"),
    "silent after headers": (Stall(after_pieces=0), "presumed"),
    "garbage": (GARBAGE, "presumed"),
    "an error under 200": (REFUSAL, "presumed"),
    "an empty answer": (Raw(), "presumed"),
}


PASSING = ("refused with 500", "refused with 503")
"""They bill nothing and may be over in a moment, so the same model is asked again."""
STREAM_ENDINGS: dict[str, tuple[Behaviour, str]] = {
    **ENDINGS,
    "silent in the middle": (Stall(after_pieces=2, then=LONG), "presumed"),
    "silent after its usage": (Stall(after_pieces=2, then=COUNTED), "exact"),
    "cut after its usage": (Cut(after_bytes=USAGE_AT, then=COUNTED), "exact"),
    "ended too early": (Raw(pieces=COUNTS_AS_IT_GOES.pieces, billed=Usage(10, 8)), "presumed"),
}


@pytest.mark.parametrize(
    ("ending", "stream"), [*((one, False) for one in ENDINGS), *((one, True) for one in STREAM_ENDINGS)]
)
async def test_however_a_request_ends_nothing_is_held_and_all_accounts_agree(
    proxy: OpenProxy, ending: str, stream: bool
) -> None:
    behaviour, outcome = STREAM_ENDINGS[ending]
    tries = 3 if ending in PASSING else 1
    opened = await proxy(*[behaviour] * tries, providers=IMPATIENT if isinstance(behaviour, Stall) else PATIENT)
    await (await opened.chat(model="small", stream=stream)).read()
    accounts, record = await opened.accounts(), await opened.last_record()
    outcomes = [attempt.outcome for attempt in record.attempts]
    assert (len(opened.upstream.calls), outcomes) == (tries, [outcome] * tries)
    assert (accounts.held, accounts.spent, accounts.presumed) == (0, record.cost_nanos, record.presumed_nanos)
    assert accounts.bill <= accounts.spent + accounts.presumed
    assert outcome == "presumed" or (accounts.bill, accounts.presumed) == (accounts.spent, 0)


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Fail(400), 400, "upstream_refused"),
        (Fail(401), 502, "upstream_auth"),
        (Fail(402), 502, "upstream_auth"),
        (Fail(403), 502, "upstream_auth"),
        (Fail(429), 429, "upstream_rate_limited"),
        (Fail(500), 502, "upstream_error"),
        (Fail(302, MOVED), 502, "upstream_bad_response"),
        (GARBAGE, 502, "upstream_bad_response"),
        (REFUSAL, 502, "upstream_bad_response"),
        (Cut(), 502, "upstream_unreachable"),
        (Stall(), 504, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_the_upstream_did_wrong_has_a_status_of_its_own(
    proxy: OpenProxy, behaviour: Behaviour, status: int, code: str, stream: bool
) -> None:
    opened = await proxy(*[behaviour] * 3, providers=IMPATIENT if isinstance(behaviour, Stall) else PATIENT)
    response = await opened.chat(model="small", stream=stream)
    error = (await response.json())["error"]
    record = await opened.record(response)
    assert (response.status, error["code"], error["param"]) == (status, code, None)
    assert (record.state, record.status, record.error) == ("failed", status, code)


async def test_an_upstream_that_cannot_be_reached_is_502_and_costs_nothing(proxy: OpenProxy) -> None:
    opened = await proxy()
    await opened.upstream.stop()
    response = await opened.chat(model="small")
    assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_unreachable")
    assert "x-should-retry" not in response.headers
    assert [attempt.outcome for attempt in (await opened.record(response)).attempts] == ["none"] * 3


async def test_the_pause_an_upstream_asks_for_reaches_the_caller(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(429, {"Retry-After": "7"}))
    response = await opened.chat(model="small")
    assert (response.status, response.headers["Retry-After"]) == (429, "7")


async def test_clients_are_told_not_to_repeat_what_may_have_been_billed(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(), *[Fail(500)] * 3)
    assert (await opened.chat(model="small")).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in (await opened.chat(model="small")).headers


async def test_the_upstream_s_key_stays_out_of_every_answer(proxy: OpenProxy) -> None:
    quoted = b'{"error":{"message":"Incorrect API key provided: sk-upstream"}}'
    opened = await proxy(*(Fail(status, body=quoted) for status in (401, 403)))
    for _ in range(2):
        assert b"sk-upstream" not in await (await opened.chat(model="small")).read()
    assert "sk-upstream" not in repr(opened.log.lines)


async def test_no_header_of_the_caller_reaches_the_upstream(proxy: OpenProxy) -> None:
    opened = await proxy()
    sent = {"Cookie": "a=1", "OpenAI-Organization": "x", "x-api-key": "sk-alice", "X-Forwarded-For": "1.2.3.4"}
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    await opened.client.post("/v1/chat/completions", json=body, headers=sent)
    heard = opened.upstream.calls[0].headers
    assert not {name for name in heard if name.lower() in {one.lower() for one in sent}}
    assert heard["Authorization"] == "Bearer sk-upstream"


async def test_a_stream_that_is_cut_ends_with_one_error_event_and_no_done(proxy: OpenProxy) -> None:
    opened = await proxy(Cut(after_bytes=2_000, then=LONG))
    response = await opened.chat(model="small", stream=True)
    stream = await events(response)
    assert (response.status, stream.is_done) == (200, False)
    assert [one["error"]["code"] for one in stream.data if "error" in one] == ["upstream_unreachable"]
    assert "error" in stream.data[-1] and stream.text.startswith("word ")


async def test_an_error_event_of_the_upstream_ends_the_stream_as_our_own(proxy: OpenProxy) -> None:
    first = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    opened = await proxy(Raw(pieces=(first, b'data: {"error":{"message":"overloaded","code":529}}\n\n')))
    stream = await events(await opened.chat(model="small", stream=True))
    assert (stream.text, stream.is_done) == ("Hi", False)
    assert stream.data[-1]["error"].keys() == {"message", "type", "param", "code"}


async def test_a_stream_whose_end_never_came_is_not_passed_off_as_complete(proxy: OpenProxy) -> None:
    opened = await proxy(Raw(pieces=(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',)))
    stream = await events(await opened.chat(model="small", stream=True))
    assert (stream.is_done, stream.data[-1]["error"]["code"]) == (False, "upstream_unreachable")


async def test_a_stream_without_done_but_with_a_finish_is_complete(proxy: OpenProxy) -> None:
    end = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    opened = await proxy(Raw(pieces=(end,)))
    stream = await events(await opened.chat(model="small", stream=True))
    assert (stream.is_done, stream.text) == (True, "Hi")


async def test_what_comes_after_done_is_not_passed_on(proxy: OpenProxy) -> None:
    end = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    opened = await proxy(Raw(pieces=(end, b'data: {"choices":[{"delta":{"content":"more"}}]}\n\n')))
    stream = await events(await opened.chat(model="small", stream=True))
    assert (stream.is_done, stream.text) == (True, "Hi")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_no_damage_to_an_answer_breaks_the_edge(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 100}]")
    chance, whole = random.Random(7), b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":%s}'
    good = b"".join(COUNTED.pieces) if stream else whole % b'{"prompt_tokens":10,"completion_tokens":1}'
    for _ in range(100):
        opened.upstream.script(None, Raw(pieces=(damaged(good, chance),), billed=Usage(10, 1)), Say())
        response = await opened.chat(model="small", stream=stream)
        assert (response.status in (200, 502), b"Traceback" in await response.read()) == (True, False)
        assert (await opened.chat(model="small")).status == 200  # and five failures in a row would be a pause
    accounts = await opened.accounts()
    assert (accounts.held, accounts.spent) == (0, accounts.recorded)


async def odd(proxy: OpenProxy, does: str) -> Proxy:
    return await proxy(
        plugins="[openai, sqlite, tests.odd_plugin]",
        providers=f"{{odd: {{kind: odd, does: {does}}}}}",
        models="{odd: {provider: odd, price_usd_per_million: {input: 1, output: 2}}}",
        routes="[{name: default, use: [odd]}]",
    )


@pytest.mark.parametrize(
    ("does", "status", "code", "outcome"),
    [
        ("raises", 500, "plugin_error", "presumed"),
        ("says nothing", 502, "upstream_bad_response", "presumed"),
        ("refuses", 400, "unsupported", "none"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_provider_that_breaks_at_once_is_answered_in_our_json(
    proxy: OpenProxy, does: str, status: int, code: str, outcome: str, stream: bool
) -> None:
    opened = await odd(proxy, does)
    response = await opened.chat(model="odd", stream=stream)
    error = (await response.json())["error"]
    assert (response.status, error["code"], "sk-a-secret" in str(error)) == (status, code, False)
    assert [attempt.outcome for attempt in (await opened.last_record()).attempts] == [outcome]


@pytest.mark.parametrize(
    ("does", "code"),
    [("raises midway", "plugin_error"), ("refuses midway", "unsupported"), ("times out midway", "plugin_error")],
)
async def test_a_provider_that_breaks_midway_ends_the_stream_with_an_error_event(
    proxy: OpenProxy, does: str, code: str
) -> None:
    opened = await odd(proxy, does)
    stream = await events(await opened.chat(model="odd", stream=True))
    assert (stream.text, stream.is_done, stream.data[-1]["error"]["code"]) == ("Hello", False, code)
    record = await opened.last_record()
    assert (record.state, record.error, record.attempts[0].outcome) == ("failed", code, "presumed")
    assert (await opened.accounts()).held == 0


async def test_a_provider_that_only_streams_also_answers_in_one_piece(proxy: OpenProxy) -> None:
    opened = await odd(proxy, "drops")
    response = await opened.chat(model="odd")
    answer = await response.json()
    assert answer["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert (answer["model"], answer["usage"]["total_tokens"]) == ("odd", 11)
    assert response.headers["x-muxer-dropped"] == "seed"


async def test_a_provider_s_canonical_chunks_become_openai_s(proxy: OpenProxy) -> None:
    opened = await odd(proxy, "drops")
    response = await opened.chat(model="odd", stream=True, stream_options={"include_usage": True})
    stream = await events(response)
    assert [one["choices"][0]["delta"] for one in stream.data[:-1]] == [{"role": "assistant", "content": "Hello"}, {}]
    assert (stream.data[-1]["usage"]["total_tokens"], stream.is_done) == (11, True)
    assert response.headers["x-muxer-dropped"] == "seed"


async def test_a_client_that_leaves_a_stream_pays_exactly_what_was_billed(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(after_pieces=5, then=LONG))
    response = await opened.chat(model="small", stream=True)
    await response.content.readany()
    response.close()
    opened.upstream.gate.set()
    await opened.log.wait_for("request")
    record, accounts = await opened.last_record(), await opened.accounts()
    assert (record.client_gone, record.state, record.attempts[0].outcome) == (True, "done", "exact")
    assert (accounts.bill, accounts.held, accounts.presumed) == (accounts.spent, 0, 0)


async def test_a_client_that_leaves_before_the_first_byte_pays_exactly_too(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(), Stall())
    asking = [asyncio.create_task(opened.chat(model="small", stream=stream)) for stream in (False, True)]
    await opened.upstream.arrived(2)
    for one in asking:
        one.cancel()
    await asyncio.wait(asking)
    opened.upstream.gate.set()
    await opened.log.wait_for("request", 2)
    accounts = await opened.accounts()
    assert (accounts.bill, accounts.held, accounts.presumed) == (accounts.spent, 0, 0)


async def test_an_answer_nobody_waits_for_is_recorded_as_such(proxy: OpenProxy) -> None:
    opened = await proxy(Stall())
    asking = asyncio.create_task(opened.chat(model="small"))
    await opened.upstream.arrived(1)
    asking.cancel()
    await asyncio.wait([asking])
    opened.upstream.gate.set()
    assert (await opened.log.wait_for("request"))["client_gone"] is True
    assert (await opened.last_record()).client_gone


async def test_a_client_that_reads_nothing_counts_as_gone(proxy: OpenProxy) -> None:
    word = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"x" * 900_000)
    said = Raw(pieces=(*[word] * 20, *COUNTED.pieces), billed=Usage(10, 1))
    opened = await proxy(said, patience=Patience(write_s=0.1), limits="[{per: user, daily_usd: 100}]")
    fields = {"model": "small", "stream": True, "max_tokens": 2_000_000}
    body = json.dumps({**fields, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    async with idle_client(opened, b"POST /v1/chat/completions", body=body):
        await opened.log.wait_for("request")
    record, accounts = await opened.last_record(), await opened.accounts()
    assert (record.client_gone, record.state, record.attempts[0].outcome) == (True, "done", "exact")
    assert (accounts.bill, accounts.held) == (accounts.spent, 0)


async def test_an_answer_without_end_is_not_read_on_for_ever(proxy: OpenProxy) -> None:
    opened = await proxy(Slow(seconds=0.01, then=Say(text="word " * 9_999)), patience=Patience(drain_s=0.1))
    response = await opened.chat(model="small", stream=True, max_tokens=9_999)
    await response.content.readany()
    response.close()
    await opened.log.wait_for("request")
    await opened.upstream.idle()
    record, accounts = await opened.last_record(), await opened.accounts()
    assert (record.client_gone, record.error, record.attempts[0].outcome) == (True, "client_gone", "presumed")
    assert (len(opened.upstream.abandoned), accounts.held, accounts.bill <= accounts.presumed) == (1, 0, True)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_clients_that_leave_at_any_moment_pay_exactly(proxy: OpenProxy, stream: bool) -> None:
    opened = await proxy()
    opened.upstream.default = Slow(seconds=0.001, then=Say(text="word " * 20))

    async def leave_after(count: int) -> None:
        response = await opened.chat(model="small", stream=stream)
        for _ in range(count):
            await response.content.readline()
        response.close()

    await asyncio.gather(*(leave_after(count) for count in range(40)))
    await opened.log.wait_for("request", 40)
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded
    assert (accounts.held, accounts.presumed) == (0, 0)


async def test_upstreams_cut_at_any_byte_never_make_a_bill_smaller(proxy: OpenProxy) -> None:
    opened = await proxy()
    size = 6_000
    for after in range(0, size, 151):
        opened.upstream.script(None, Cut(after_bytes=after, then=Say(text="word " * 20)))
        await (await opened.chat(model="small", stream=True, max_tokens=50)).read()
    accounts = await opened.accounts()
    assert accounts.bill <= accounts.spent + accounts.presumed
    assert (accounts.held, accounts.spent) == (0, accounts.recorded)


async def test_defaults_fill_in_only_what_is_missing(proxy: OpenProxy) -> None:
    opened = await proxy(defaults="{max_tokens: 50, temperature: 0.5}")
    await opened.chat(model="small")
    await opened.chat(model="small", max_completion_tokens=7, temperature=0)
    bodies = [call.body for call in opened.upstream.calls]
    assert [(body["max_tokens"], body["temperature"]) for body in bodies] == [(50, 0.5), (7, 0)]
    assert not [body for body in bodies if "max_completion_tokens" in body]


async def test_nothing_is_filled_in_without_defaults_and_budget(proxy: OpenProxy) -> None:
    opened = await proxy(limits="[]")
    await opened.chat(model="small", odd=None)
    assert opened.upstream.calls[0].body.keys() == {"messages", "odd", "model", "stream_options"} - {"stream_options"}


async def test_a_hard_budget_inserts_an_output_cap(proxy: OpenProxy) -> None:
    opened = await proxy()
    response = await opened.chat(model="small")
    assert opened.upstream.calls[0].body["max_tokens"] == 4_096
    assert "x-muxer-output-cap" not in response.headers


async def test_a_route_s_deadline_covers_all_attempts(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(), routes="[{name: hasty, use: [small, large], timeout_s: 0.1}]")
    response = await opened.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (504, "upstream_timeout")
    record = await opened.record(response)
    assert [(attempt.outcome, attempt.error) for attempt in record.attempts] == [("presumed", "abandoned")]
    assert json.loads(json.dumps((await opened.get(f"/v1/requests/{record.id}"))["state"])) == "failed"
