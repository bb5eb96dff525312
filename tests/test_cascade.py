"""A cascade over real sockets: the cheap model first, the next only when it is unsure; every leg held and paid."""

import asyncio
import math
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from muxer.testing import Behaviour, Cut, Fail, Say, Stall
from muxer.types import Record
from tests.proxy import OpenProxy, Proxy, events

MODELS = """
  small: {provider: main, name: small-1, can: [logprobs, json], price_usd_per_million: {input: 1, output: 2}}
  large: {provider: main, name: large-1, can: [json, tools], price_usd_per_million: {input: 10, output: 20}}
  quiet: {provider: main, name: quiet-1, can: [], price_usd_per_million: {input: 1, output: 2}}
  new: {provider: main, name: new-1, price_usd_per_million: {input: 1, output: 2}}"""
ORDER = "use: [small, large], order: cascade, confidence: 0.8"
SURE = Say(text="It is Paris, the city of light", probabilities=(0.9,) * 7)
UNSURE = Say(text="It is Lyon, the city of silk", probabilities=(0.9, 0.9, 0.05, 0.9, 0.9, 0.9, 0.9))
LARGE = Say(text="Paris.")


async def opened(
    proxy: OpenProxy,
    *behaviours: Behaviour,
    order: str = ORDER,
    models: str = MODELS,
    limits: str = "[{per: user, daily_usd: 1}]",
) -> Proxy:
    return await proxy(*behaviours, models=models, routes=f"[{{name: default, {order}}}]", limits=limits)


def legs(record: Record) -> list[tuple[str, str]]:
    return [(attempt.model, attempt.outcome) for attempt in record.attempts]


async def all_agree(proxy: Proxy) -> None:
    accounts = await proxy.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded
    assert (accounts.held, accounts.presumed) == (0, 0)


async def test_an_answer_that_is_sure_enough_is_given_and_nobody_else_is_asked(proxy: OpenProxy) -> None:
    served = await opened(proxy, SURE)
    response = await served.chat()
    body = await response.json()
    assert body["choices"][0]["message"]["content"] == SURE.text and body["choices"][0]["logprobs"] is None
    assert body["model"] == "small" and [call.model for call in served.upstream.calls] == ["small-1"]
    record = await served.record(response)
    assert record.confidence == pytest.approx(0.9) and record.attempts[0].confidence == record.confidence
    assert record.reason.endswith("; cascade at 0.8; small: sure, 0.90")
    await all_agree(served)


async def test_one_that_is_not_is_paid_for_and_the_next_model_answers(proxy: OpenProxy) -> None:
    served = await opened(proxy, UNSURE, LARGE)
    response = await served.chat()
    body = await response.json()
    assert body["choices"][0]["message"]["content"] == "Paris." and body["model"] == "large"
    record = await served.record(response)
    assert legs(record) == [("small", "exact"), ("large", "exact")]
    assert record.confidence == pytest.approx(math.exp((6 * math.log(0.9) + math.log(0.05)) / 7))
    assert [attempt.confidence for attempt in record.attempts] == [record.confidence, None]
    assert record.reason.endswith("; small: unsure, 0.60")
    assert record.usage.output_tokens == 1, "the tokens are those of the answer given"
    assert record.cost_nanos == sum(attempt.cost_nanos for attempt in record.attempts)
    await all_agree(served)


async def test_log_probabilities_are_asked_of_who_is_judged_and_of_nobody_else(proxy: OpenProxy) -> None:
    served = await opened(proxy, UNSURE, LARGE)
    await served.chat()
    assert [call.body.get("logprobs") for call in served.upstream.calls] == [True, None]


async def test_a_caller_who_asked_for_them_keeps_them(proxy: OpenProxy) -> None:
    served = await opened(proxy, SURE, SURE, order="use: [small, new], order: cascade, confidence: 0.8")
    body = await (await served.chat(logprobs=True)).json()
    assert len(body["choices"][0]["logprobs"]["content"]) == 7
    streamed = await events(await served.chat(logprobs=True, stream=True))
    assert sum(bool(one["choices"] and one["choices"][0].get("logprobs")) for one in streamed.data) == 7


@pytest.mark.parametrize(("first", "text", "model"), [(SURE, SURE.text, "small"), (UNSURE, "Paris.", "large")])
async def test_a_stream_is_that_of_the_answer_given(proxy: OpenProxy, first: Behaviour, text: str, model: str) -> None:
    served = await opened(proxy, first, LARGE)
    response = await served.chat(stream=True, stream_options={"include_usage": True})
    assert response.headers["x-muxer-model"] == model
    streamed = await events(response)
    assert streamed.is_done and streamed.text == text
    assert all(not one["choices"] or one["choices"][0].get("logprobs") is None for one in streamed.data)
    assert streamed.data[-1]["usage"]["completion_tokens"] == len(text.split())
    assert streamed.data[-1]["router_metadata"]["selected_model"] == model
    await all_agree(served)


async def test_without_room_for_the_second_leg_the_first_answer_is_given(proxy: OpenProxy) -> None:
    served = await opened(proxy, UNSURE, limits="[{per: user, daily_usd: 0.004}]")
    response = await served.chat()
    assert (await response.json())["choices"][0]["message"]["content"] == UNSURE.text
    record = await served.record(response)
    assert record.reason.endswith("; small: unsure, 0.60, and large does not fit the limits")
    assert (legs(record), record.model, record.state) == ([("small", "exact")], "small", "done")
    await all_agree(served)


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_second_leg_fails_the_first_answer_is_given(proxy: OpenProxy, stream: bool) -> None:
    served = await opened(proxy, UNSURE, Fail(400))
    response = await served.chat(stream=stream)
    assert response.status == 200 and response.headers["x-muxer-model"] == "small"
    assert UNSURE.text == (
        (await events(response)).text if stream else (await response.json())["choices"][0]["message"]["content"]
    )
    record = await served.last_record()
    assert (record.model, record.provider, record.status) == ("small", "main", 200)
    assert legs(record) == [("small", "exact"), ("large", "none")]
    assert record.reason.endswith(", and who is asked next failed: upstream_refused")
    assert record.usage.output_tokens == 7
    await all_agree(served)


async def test_when_the_second_leg_takes_too_long_the_first_answer_is_given(proxy: OpenProxy) -> None:
    route = "use: [small, large], order: cascade, confidence: 0.8, timeout_s: 0.5"
    served = await opened(proxy, UNSURE, Stall(), order=route)
    response = await served.chat()
    assert (await response.json())["choices"][0]["message"]["content"] == UNSURE.text
    record = await served.record(response)
    assert legs(record) == [("small", "exact"), ("large", "presumed")]
    assert record.reason.endswith(", and who is asked next took too long")
    assert (await served.accounts()).held == 0


async def test_when_the_first_leg_fails_the_next_is_a_fallback_and_is_not_judged(proxy: OpenProxy) -> None:
    served = await opened(proxy, Fail(500), LARGE)
    record = await served.record(await served.chat())
    assert (record.model, record.confidence) == ("large", None)


async def test_an_answer_that_breaks_off_is_worth_nothing(proxy: OpenProxy) -> None:
    served = await opened(proxy, Cut(after_bytes=900, then=UNSURE), LARGE)
    streamed = await events(await served.chat(stream=True))
    assert streamed.is_done and streamed.text == "Paris."
    record = await served.last_record()
    assert record.model == "large" and "; small broke off" in record.reason
    assert record.attempts[0].outcome == "presumed"


@pytest.mark.parametrize(("said", "model"), [("90", "quiet"), ("Maybe 45 %", "large"), ("I am sure", "large")])
async def test_a_model_without_log_probabilities_is_asked_how_sure_it_is(
    proxy: OpenProxy, said: str, model: str
) -> None:
    served = await opened(
        proxy, Say(text="Lyon"), Say(text=said), LARGE, order="use: [quiet, large], order: cascade, confidence: 0.8"
    )
    record = await served.record(await served.chat())
    assert record.model == model
    assert [attempt.is_check for attempt in record.attempts[:2]] == [False, True]
    assert {"90": 0.9, "Maybe 45 %": 0.45, "I am sure": None}[said] == record.confidence
    check = served.upstream.calls[1].body
    messages = convert(check["messages"], list[dict[str, str]])
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert check["max_tokens"] == 16
    await all_agree(served)


async def test_a_check_that_does_not_fit_the_budget_leaves_the_first_answer(proxy: OpenProxy) -> None:
    order = "use: [quiet, large], order: cascade, confidence: 0.8"
    served = await opened(proxy, Say(text="Lyon"), order=order, limits="[{per: user, total_usd: 0.0002}]")
    record = await served.record(await served.chat(max_tokens=1))
    assert (record.model, legs(record)) == ("quiet", [("quiet", "exact")])
    await all_agree(served)


async def test_a_model_that_refuses_to_tell_is_asked_again_without_and_then_believed(proxy: OpenProxy) -> None:
    order = "use: [new, large], order: cascade, confidence: 0.8"
    served = await opened(
        proxy, Fail(400), Say(text="Paris"), Say(text="95"), Say(text="Rome"), Say(text="97"), order=order
    )
    first = await served.record(await served.chat())
    assert legs(first) == [("new", "none"), ("new", "exact"), ("new", "exact")]
    second = await served.record(await served.chat())
    assert legs(second) == [("new", "exact"), ("new", "exact")], "it is not asked for them again"
    assert [call.body.get("logprobs") for call in served.upstream.calls] == [True, None, None, None, None]
    await all_agree(served)


async def test_a_request_that_is_wrong_itself_is_refused_after_both_tries(proxy: OpenProxy) -> None:
    served = await opened(proxy, Fail(400), Fail(400), order="use: [new, large], order: cascade, confidence: 0.8")
    response = await served.chat()
    assert (response.status, (await response.json())["error"]["code"]) == (400, "upstream_refused")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "it offers tools"),
        ({"n": 2}, "it asks for several answers"),
        ({"max_tokens": 5_000}, "its answer may be longer than 4,096 tokens"),
    ],
)
async def test_what_cannot_be_judged_goes_in_plain_order(proxy: OpenProxy, fields: dict[str, Any], why: str) -> None:
    served = await opened(proxy, UNSURE, order="use: [new, large], order: cascade, confidence: 0.8")
    record = await served.record(await served.chat(**fields))
    assert record.model == "new" and record.reason.endswith(f"; in plain order: {why}")
    assert "logprobs" not in served.upstream.calls[0].body and len(served.upstream.calls) == 1


async def test_a_group_is_a_cascade_too_and_a_stage_may_have_several_models(proxy: OpenProxy) -> None:
    models = (
        MODELS
        + """
  cheap: {use: [small, new]}
  careful: {use: [cheap, large], order: cascade, confidence: 0.8}"""
    )
    served = await opened(proxy, UNSURE, LARGE, models=models)
    record = await served.record(await served.chat(model="careful"))
    assert legs(record) == [("small", "exact"), ("large", "exact")], "the other cheap one is no better"


async def test_three_stages_are_climbed_one_by_one(proxy: OpenProxy) -> None:
    served = await opened(
        proxy,
        UNSURE,
        replace(UNSURE, text="It is Nice, the city of flowers"),
        LARGE,
        order="use: [small, new, large], order: cascade, confidence: 0.8",
    )
    record = await served.record(await served.chat())
    assert [model for model, _ in legs(record)] == ["small", "new", "large"]
    assert [attempt.confidence is None for attempt in record.attempts] == [False, False, True]
    await all_agree(served)


async def test_a_caller_who_leaves_is_settled_as_ever(proxy: OpenProxy) -> None:
    served = await opened(proxy, Stall(then=UNSURE), LARGE)
    asking = asyncio.create_task(served.chat(stream=True))
    await served.upstream.arrived(1)
    asking.cancel()
    served.upstream.gate.set()
    await served.log.wait_for("request")
    record = await served.last_record()
    assert record.client_gone and record.state == "done"
    await all_agree(served)


async def test_the_route_says_who_is_asked_until_how_sure(proxy: OpenProxy) -> None:
    served = await opened(proxy, order="use: [small, large], order: cascade, confidence: 0.8, confidence_by: mean")
    response = await served.ask("/v1/route", {"messages": [{"role": "user", "content": "Hi"}]})
    told = await response.json()
    assert told["cascade"] == {"confidence": 0.8, "basis": "the file", "by": "mean", "stages": [["small"], ["large"]]}
    assert told["model"] == "small" and told["reason"].endswith("; cascade at 0.8")


BOTH = """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  claude: {kind: anthropic, api_key: sk-ant, base_url: "UPSTREAM"}"""
CLAUDE = """
  haiku: {provider: claude, name: haiku-1, can: [tools], price_usd_per_million: {input: 1, output: 2}}
  large: {provider: main, name: large-1, can: [tools], price_usd_per_million: {input: 10, output: 20}}"""


async def test_another_vendor_s_model_is_asked_in_its_own_format(proxy: OpenProxy) -> None:
    served = await proxy(
        Say(text="Lyon"),
        Say(text="20"),
        LARGE,
        plugins="[openai, anthropic, sqlite]",
        providers=BOTH,
        models=CLAUDE,
        routes="[{name: default, use: [haiku, large], order: cascade, confidence: 0.8}]",
    )
    response = await served.chat(stream=True)
    assert (await events(response)).is_done
    record = await served.record(response)
    assert [call.path for call in served.upstream.calls] == ["/v1/messages", "/v1/messages", "/v1/chat/completions"]
    assert (record.model, record.confidence) == ("large", 0.2)
    assert "logprobs" not in served.upstream.calls[0].body
    await all_agree(served)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_of_another_format_gets_the_accepted_answer_in_it(proxy: OpenProxy, stream: bool) -> None:
    served = await opened(proxy, SURE)
    question = {
        "model": "auto",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Where?"}],
        "stream": stream,
    }
    response = await served.ask("/v1/messages", question)
    body = await response.text()
    assert "Paris" in body and "logprob" not in body
    assert served.upstream.calls[0].body["logprobs"] is True
    assert (await served.last_record()).confidence == pytest.approx(0.9)


async def test_scores_reach_the_threshold(proxy: OpenProxy) -> None:
    served = await opened(proxy, order="use: [small, large], order: cascade, keep_quality: 90%")
    question = {"messages": [{"role": "user", "content": "Hi"}]}
    told = (await (await served.ask("/v1/route", question)).json())["cascade"]
    assert (told["confidence"], told["basis"]) == (0.85, "until answers are scored: 0 of 50 and 0 of 20 so far")
    sure, unsure = replace(SURE, probabilities=(0.99,) * 7), replace(SURE, probabilities=(0.2,) * 7)
    served.upstream.script("small-1", *[sure] * 50, *[unsure] * 20)
    for _ in range(70):
        id = (await served.chat()).headers["x-muxer-request-id"]
        assert (await served.ask("/v1/feedback", {"request_id": id, "score": 1})).status == 200
    await served.assembly.parts.learner.learn()
    told = (await (await served.ask("/v1/route", question)).json())["cascade"]
    assert told["basis"] == "which keeps 90 % by 70 scores"
    assert 0.2 < told["confidence"] < 0.99, "between what was given and what was not"


async def test_a_slow_stage_is_hedged_by_the_next_whose_answer_is_then_given(proxy: OpenProxy) -> None:
    served = await opened(proxy, order=ORDER + ", hedge_after_s: 0.05")
    served.upstream.script("small-1", Stall(then=UNSURE))
    served.upstream.script("large-1", LARGE)
    response = await served.chat()
    assert (await response.json())["choices"][0]["message"]["content"] == "Paris."
    record = await served.record(response)
    assert [(one.model, one.error) for one in record.attempts] == [("small", "outrun"), ("large", "")]
    assert (record.model, record.confidence) == ("large", None)


async def test_a_hedge_that_loses_is_no_reason_not_to_judge(proxy: OpenProxy) -> None:
    served = await opened(proxy, order="use: [small, new, large], order: cascade, confidence: 0.8, hedge_after_s: 0.05")
    served.upstream.script("small-1", Stall(then=SURE))
    served.upstream.script("new-1", UNSURE)
    served.upstream.script("large-1", LARGE)
    assert (await events(await served.chat(stream=True))).text == "Paris."
    record = await served.last_record()
    assert [(one.model, one.error) for one in record.attempts] == [("small", "outrun"), ("new", ""), ("large", "")]
    assert record.attempts[1].confidence == record.confidence == pytest.approx(0.6, abs=0.01)
    assert record.answered == record.attempts[2]
