"""What is imported answers: a real upstream is asked as LiteLLM would have asked it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muxer import Muxer, MuxerError
from muxer.litellm_import.convert import convert
from muxer.testing import Fail, Say, ScriptedUpstream
from tests.litellm_import.examples import PLUGINS, PRICES

CONFIG = """\
model_list:
  - model_name: chat
    litellm_params: {model: openai/first, api_base: UPSTREAM/v1, api_key: os.environ/FIRST_KEY, order: 1}
  - model_name: chat
    litellm_params: {model: openai/second, api_base: UPSTREAM/v1, api_key: sk-second, order: 2}
  - model_name: spare
    litellm_params: {model: hosted_vllm/third, api_base: UPSTREAM/v1, api_key: none}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
router_settings:
  fallbacks: [{chat: [spare]}, {spare: [chat]}]
  model_group_alias: {alias: chat}
"""
VARIABLES = {"FIRST_KEY": "sk-first", "CHAT_API_KEY": "sk-second"}
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(Say(text="Hello back.")) as upstream:
        yield upstream


@pytest.fixture
async def mux(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Muxer]:
    data = CONFIG.replace("UPSTREAM", upstream.url).encode()
    result = convert(data, "config.yaml", lambda name: b"", PRICES, PLUGINS)
    assert not result.report.has_errors
    (tmp_path / "routing.yaml").write_text(result.text)
    async with Muxer(tmp_path / "routing.yaml", environ=VARIABLES) as mux:
        yield mux


def asked(upstream: ScriptedUpstream) -> list[tuple[str, str]]:
    """Model and key of each call that came."""
    return [(call.model, call.headers.get("Authorization", "")) for call in upstream.calls]


async def test_the_deployment_of_the_lower_order_answers(mux: Muxer, upstream: ScriptedUpstream) -> None:
    answer = await mux.acompletion(model="chat", messages=MESSAGES)
    assert answer["choices"][0]["message"]["content"] == "Hello back."
    assert asked(upstream) == [("first", "Bearer sk-first")]


async def test_a_request_goes_on_to_the_next_deployment_and_to_the_fallback(
    mux: Muxer, upstream: ScriptedUpstream
) -> None:
    upstream.script(None, Fail(500), Fail(500), Say(text="Third."))
    await mux.acompletion(model="alias", messages=MESSAGES)
    assert asked(upstream) == [("first", "Bearer sk-first"), ("second", "Bearer sk-second"), ("third", "")]


async def test_fallbacks_that_lead_back_are_tried_once(mux: Muxer, upstream: ScriptedUpstream) -> None:
    upstream.script(None, Fail(500), Fail(500), Fail(500))
    with pytest.raises(MuxerError):
        await mux.acompletion(model="spare", messages=MESSAGES)
    assert [model for model, _ in asked(upstream)] == ["third", "first", "second"]
