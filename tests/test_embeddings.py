"""`POST /v1/embeddings`: what is asked for, who is asked, what it costs."""

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from muxer import Answer, Call, Chunk, UpstreamBadResponse
from muxer.asking import whole
from muxer.errors import InvalidRequest
from muxer.inputs import EmbeddingRequest, messages_of
from muxer.testing import Fail, Raw, Say, a_call
from muxer.wire.openai_inputs import patched
from tests.proxy import OpenProxy, Proxy

MODELS = """
  small: {provider: main, name: small-1, price_usd_per_million: {input: 1, output: 2}}
  large: {provider: main, name: large-1, price: free}
  chatty: {provider: main, name: chatty-1, price: free, can: [tools]}
  vectors: {provider: main, name: vectors-1, price_usd_per_million: {input: 1, output: 0}, can: [embeddings]}
  short: {provider: main, name: short-1, price: free, context_tokens: 10, can: [embeddings]}
  spare: {provider: main, name: spare-1, price: free, can: [embeddings]}
  both: {use: [vectors, spare]}"""
JSON = {"Content-Type": "application/json"}


async def embed(opened: Proxy, **fields: object) -> Any:
    response = await opened.ask("/v1/embeddings", {"model": "vectors", "input": "Hello there", **fields})
    return response, await response.json()


async def test_the_vectors_are_the_upstream_s_with_our_model_and_metadata(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, input=["a", "b"], dimensions=2, odd=[1.0])
    metadata = body.pop("router_metadata")
    assert (response.status, body["object"], body["model"]) == (200, "list", "vectors")
    assert [one["embedding"] for one in body["data"]] == [[0.0, 0.5], [1.0, 0.5]]
    assert body["id"] == metadata["request_id"]
    assert (metadata["selected_model"], metadata["request_id"]) == ("vectors", response.headers["x-muxer-request-id"])
    (call,) = opened.upstream.calls
    assert call.body == {"model": "vectors-1", "input": ["a", "b"], "dimensions": 2, "odd": [1.0]}


async def test_an_embedding_is_priced_recorded_and_leaves_nothing_held(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, input="x" * 400)
    record = await opened.record(response)
    assert (record.api, record.state, record.needs.embeddings) == ("openai.embeddings", "done", True)
    assert (record.usage.input_tokens, record.usage.output_tokens) == (103, 0)
    assert body["usage"] == {"prompt_tokens": 103, "total_tokens": 103}
    accounts = await opened.accounts()
    assert accounts.bill == accounts.spent == accounts.recorded == record.cost_nanos == 103_000
    assert (accounts.held, accounts.presumed) == (0, 0)


async def test_tokens_are_counted_one_by_one(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    response, _ = await embed(opened, input=[[123456] * 50, [7] * 20])
    record = await opened.record(response)
    assert (record.estimate_tokens, record.bound_tokens) == (70, 70 + 2 * 16)
    assert opened.upstream.calls[0].body["input"] == [[123456] * 50, [7] * 20]


async def test_a_budget_holds_the_bound_of_the_inputs_and_nothing_for_output(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, limits="[{per: user, daily_usd: 0.000117}]")
    response, body = await embed(opened, input="x" * 102)
    assert (response.status, body["error"]["code"]) == (402, "budget_exceeded")
    assert body["error"]["budget"]["asked_usd"] == "0.000118"
    assert (await embed(opened, input="x" * 101))[0].status == 200


async def test_a_token_rate_counts_inputs(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, limits="[{per: key, tokens_per_minute: 100}]")
    assert (await embed(opened, input=[1] * 90))[0].status == 200
    response, body = await embed(opened, input=[1] * 90)
    assert (response.status, body["error"]["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    "value",
    [[], "", [""], ["a", ""], ["a"] * 2_049, [1, -1], [[1, -1]], [[[1]]], [["a"]], [[]], [1, "a"], [1.5], 5, None, {}],
    ids=range(15),
)
async def test_inputs_that_are_none_are_400(proxy: OpenProxy, value: object) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, input=value)
    assert (response.status, body["error"]["code"]) == (400, "invalid_value")
    assert body["error"]["param"].startswith("input")
    assert opened.upstream.calls == []


async def test_as_many_inputs_as_openai_takes_are_taken(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    _, body = await embed(opened, input=["a"] * 2_048)
    assert len(body["data"]) == 2_048


@pytest.mark.parametrize(
    ("field", "value"),
    [("dimensions", 0), ("dimensions", "2"), ("encoding_format", "hex"), ("model", ""), ("user", 5)],
    ids=range(5),
)
async def test_other_fields_are_checked_too(proxy: OpenProxy, field: str, value: object) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, **{field: value})
    assert (response.status, body["error"]["param"]) == (400, field)


@pytest.mark.parametrize("model", ["auto", "auto:default", None])
async def test_no_route_picks_a_model_for_vectors(proxy: OpenProxy, model: str | None) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, model=model)
    assert (response.status, body["error"]["code"], body["error"]["param"]) == (400, "invalid_model", "model")
    assert "name a model or a group" in body["error"]["message"]


async def test_a_model_for_chats_is_refused_before_anybody_is_asked(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    response, body = await embed(opened, model="chatty")
    assert (response.status, body["error"]["code"]) == (400, "invalid_value")
    assert "chatty: makes no embeddings" in body["error"]["message"]
    assert opened.upstream.calls == []


async def test_a_model_for_vectors_is_passed_over_by_a_chat(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, routes="[{name: default, use: [vectors, small]}]")
    response = await opened.chat()
    record = await opened.record(response)
    assert (record.model, [one.gate for one in record.excluded]) == ("small", ["embeddings"])


async def test_a_model_nobody_knows_is_asked(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    assert (await embed(opened, model="small"))[0].status == 200


async def test_a_group_falls_back(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(500), models=MODELS)
    response, body = await embed(opened, model="both")
    assert (response.status, body["model"]) == (200, "spare")


async def test_the_context_is_for_each_input_by_itself(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS)
    assert (await embed(opened, model="short", input=["x" * 40] * 5))[0].status == 200
    response, body = await embed(opened, model="short", input=["x", "x" * 41])
    error = body["error"]
    assert (response.status, error["code"], error["param"]) == (400, "context_length_exceeded", "input")


async def test_a_provider_that_makes_none_is_refused_clearly(proxy: OpenProxy) -> None:
    providers = '{main: {kind: anthropic, api_key: k, base_url: "UPSTREAM"}}'
    opened = await proxy(plugins="[anthropic, sqlite]", providers=providers, models=MODELS)
    response, body = await embed(opened)
    assert (response.status, body["error"]["code"]) == (400, "unsupported")
    assert (await opened.accounts()).spent == 0


@pytest.mark.parametrize(
    "said",
    [b"<html>", b"{}", b'{"data":[]}', b'{"data":[{},{}]}', b'{"error":{"message":"busy"}}', b'{"data":5}'],
)
async def test_an_answer_without_a_vector_an_input_is_none(proxy: OpenProxy, said: bytes) -> None:
    opened = await proxy(Raw(pieces=(said,), headers=JSON), models=MODELS)
    response, body = await embed(opened)
    assert (response.status, body["error"]["code"]) == (502, "upstream_bad_response")


async def test_without_a_usage_the_bound_stays_counted(proxy: OpenProxy) -> None:
    opened = await proxy(Say(reports_usage=False), models=MODELS)
    response, _ = await embed(opened, input="x" * 100)
    assert (await opened.record(response)).presumed_nanos == 116_000


async def test_secrets_in_inputs_become_placeholders(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, plugins="[openai, sqlite, redact]", guards="[{kind: redact}]")
    response, body = await embed(opened, input=["mail bob@example.com", "plain"])
    assert (response.status, response.headers["x-muxer-redacted"], len(body["data"])) == (200, "1", 2)
    assert opened.upstream.calls[0].body["input"] == ["mail [EMAIL_1]", "plain"]
    await embed(opened, input="mail bob@example.com")
    assert opened.upstream.calls[1].body["input"] == "mail [EMAIL_1]"


async def test_tokens_are_refused_where_a_guard_could_not_read_them(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, plugins="[openai, sqlite, redact]", guards="[{kind: redact}]")
    response, body = await embed(opened, input=[[1, 2]])
    assert (response.status, body["error"]["code"], body["error"]["param"]) == (400, "unsupported", "input")
    assert "redact" in body["error"]["message"]


class Odd:
    """A provider that breaks its promise."""

    async def aembedding(self, call: Call) -> Answer:
        return Answer()

    async def astreaming(self, call: Call) -> AsyncIterator[Chunk]:
        yield Chunk()


async def test_a_provider_without_vectors_has_not_answered() -> None:
    request = EmbeddingRequest(messages=(), inputs=("a",))
    with pytest.raises(UpstreamBadResponse, match="gave no embeddings"):
        await whole(Odd(), a_call(request), "")


async def test_what_a_guard_changes_is_put_into_the_body() -> None:
    before = EmbeddingRequest(messages=messages_of(("a", "b")), inputs=("a", "b"), is_list=True, user="u")
    body = b'{"input":["a","b"],"user":"u","odd":1.0}'
    after = replace(before, messages=messages_of(("c", "d")), user=None, model="m")
    assert patched(body, before, after) == b'{"input":["c","d"],"odd":1.0,"model":"m"}'
    with pytest.raises(InvalidRequest):
        patched(body, before, replace(before, messages=messages_of(("c",))))


async def test_vectors_pass_a_cache_and_are_not_kept(proxy: OpenProxy) -> None:
    opened = await proxy(models=MODELS, plugins="[openai, sqlite, cache]", guards="[{kind: cache}]")
    for _ in range(2):
        response, body = await embed(opened)
        assert (response.status, len(body["data"]), response.headers["x-muxer-cache"]) == (200, 1, "miss")
    assert len(opened.upstream.calls) == 2


async def test_mistral_gets_its_own_words(proxy: OpenProxy) -> None:
    providers = '{main: {kind: mistral, api_key: k, base_url: "UPSTREAM/v1"}}'
    opened = await proxy(plugins="[mistral, sqlite]", providers=providers, models=MODELS)
    response, _ = await embed(opened, dimensions=2, user="u", encoding_format="float")
    assert (response.status, response.headers["x-muxer-dropped"]) == (200, "user")
    (call,) = opened.upstream.calls
    sent = {"model": "vectors-1", "input": "Hello there", "output_dimension": 2, "encoding_format": "float"}
    assert call.body == sent
    assert (await embed(opened, input=[1, 2]))[0].status == 400


GEMINI: dict[str, Any] = {
    "plugins": "[gemini, sqlite]",
    "providers": '{main: {kind: gemini, api_key: k, base_url: "UPSTREAM/v1beta"}}',
    "models": MODELS,
}
VECTORS = b'{"embeddings":[{"values":[0.5,1]},{"values":[2,-1e-3]}],"usageMetadata":{"promptTokenCount":9}}'


async def test_gemini_gets_a_batch_of_its_own(proxy: OpenProxy) -> None:
    opened = await proxy(Raw(pieces=(VECTORS,), headers=JSON), **GEMINI)
    response, body = await embed(opened, input=["a", "b"], dimensions=2, user="u")
    assert (response.status, response.headers["x-muxer-dropped"]) == (200, "user")
    assert [one["embedding"] for one in body["data"]] == [[0.5, 1.0], [2.0, -0.001]]
    assert (body["usage"]["prompt_tokens"], (await opened.record(response)).cost_nanos) == (9, 9_000)
    (call,) = opened.upstream.calls
    asked = [
        {"model": "models/vectors-1", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
        for text in "ab"
    ]
    assert (call.path, call.body) == ("/v1beta/models/vectors-1:batchEmbedContents", {"requests": asked})


@pytest.mark.parametrize("value", [[1, 2], ["a"] * 101])
async def test_what_gemini_does_not_take_is_refused(proxy: OpenProxy, value: object) -> None:
    opened = await proxy(**GEMINI)
    response, body = await embed(opened, input=value)
    assert (response.status, body["error"]["code"]) == (400, "unsupported")


@pytest.mark.parametrize("said", [b"{}", VECTORS, b'{"error":{"status":"INTERNAL"}}', b"[]"])
async def test_an_answer_of_gemini_s_without_a_vector_an_input_is_none(proxy: OpenProxy, said: bytes) -> None:
    opened = await proxy(Raw(pieces=(said,), headers=JSON), **GEMINI)
    response, body = await embed(opened)
    assert (response.status, body["error"]["type"]) == (502, "upstream_error")


DEMO: dict[str, Any] = {
    "plugins": "[demo, sqlite]",
    "providers": "{main: {kind: demo}}",
    "models": "{vectors: {provider: main, price: free}}",
    "routes": "[{name: default, use: [vectors]}]",
}


async def test_the_demo_s_vectors_depend_on_the_input_alone(proxy: OpenProxy) -> None:
    opened = await proxy(**DEMO)
    _, body = await embed(opened, input=["a", "b", "a"], dimensions=8)
    first, second, third = (one["embedding"] for one in body["data"])
    assert first == third != second
    assert len(first) == 8 and sum(number**2 for number in first) == pytest.approx(1, abs=1e-4)


async def test_the_demo_s_vectors_come_packed_if_wanted(proxy: OpenProxy) -> None:
    opened = await proxy(**DEMO)
    plain = (await embed(opened))[1]["data"][0]["embedding"]
    packed = base64.b64decode((await embed(opened, encoding_format="base64"))[1]["data"][0]["embedding"])
    assert struct.unpack(f"<{len(plain)}f", packed) == pytest.approx(plain)
