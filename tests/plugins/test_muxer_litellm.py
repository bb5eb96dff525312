"""The plugin `litellm` where LiteLLM is not installed; with it, it is tested by `make check-litellm`."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from muxer_litellm import LiteLLMSettings, LoggerSettings, open_litellm, open_logger, register_providers, register_sinks
from muxer_litellm.answers import read_usage
from muxer_litellm.files import load_instance
from muxer_litellm.library import Library
from muxer_litellm.payload import event
from muxer_litellm.request import arguments

from muxer import Call, ConfigInvalid, FilePart, Message, MuxerError, Tool, Unsupported, Usage
from muxer.config.load import load
from muxer.plugins import find_kinds
from muxer.prices import PriceTable
from muxer.testing import a_call, a_record, a_request, open_context

ROUTING = """
version: 1
plugins: [litellm, openai, sqlite]
providers:
  main: {kind: openai, api_key: sk-1}
  bedrock: {kind: litellm, params: {aws_region_name: us-east-1}}
  gateway: {kind: litellm, base_url: "http://localhost:4000"}
  own: {kind: litellm, handler: my_file.my_instance}
models:
  terra: {provider: main, name: gpt-6.1-terra}
  claude: {provider: bedrock, name: "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"}
  elsewhere: {provider: gateway, name: gpt-6.1-terra}
  mine: {provider: own, name: gpt-6.1-terra}
routes: [{name: default, use: [terra]}]
limits: [{per: user, requests_per_minute: 10}]
"""

# Whoever imports LiteLLM ends the process; `litellm` as a whole word, since our own module begins with it too.
START = """
import asyncio, sys, time
from pathlib import Path

class Tripwire:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("litellm", "openai"):
            print(f"{name} was imported", flush=True)
            sys.exit(3)

sys.meta_path.insert(0, Tripwire())
from muxer.assemble import assemble
from muxer.config.load import load
from muxer.plugins import find_kinds
from muxer.prices import load_prices

async def main():
    table = load_prices()
    configuration = load(Path(sys.argv[1]), {}, find_kinds, table=table)
    async with assemble(configuration, table, lambda level, event, **fields: None):
        print("litellm" in configuration.settings.plugins, "muxer_litellm" in sys.modules)

asyncio.run(main())
"""
UNUSED = """
version: 1
plugins: [PLUGINS]
providers: {main: {kind: openai, api_key: sk-1}}
models: {terra: {provider: main, name: gpt-6.1-terra}}
limits: [{per: user, requests_per_minute: 10}]
"""


def test_offers_a_provider_and_a_sink() -> None:
    assert [kind.name for kind in (*register_providers(), *register_sinks())] == ["litellm", "litellm"]


@pytest.mark.parametrize(
    ("plugins", "said"), [("litellm, openai, sqlite", "True True"), ("heuristics, openai, sqlite", "False False")]
)
def test_a_start_that_does_not_need_litellm_does_not_import_it(tmp_path: Path, plugins: str, said: str) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text(UNUSED.replace("PLUGINS", plugins))
    done = subprocess.run([sys.executable, "-c", START, str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")


@pytest.mark.parametrize("open", [open_litellm, open_logger])
async def test_without_the_extra_the_error_says_how_to_install_it(open: Callable[..., Any]) -> None:
    assert importlib.util.find_spec("litellm") is None, "the tests of the core run without LiteLLM"
    settings = LiteLLMSettings() if open is open_litellm else LoggerSettings(logger="my_file.my_logger")
    async with open_context() as context:
        with pytest.raises(ConfigInvalid, match=r"pip install 'modelmuxer\[litellm\]'"):
            async with open(settings, context):
                pass


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"api_base": "http://x"}, "write `base_url` beside `params`"),
        ({"model": "x"}, "write it as `name` of the model"),
        ({"num_retries": 3}, "name `fallbacks` of the model"),
        ({"mock_response": "hi"}, "cannot be set here"),
        ({"messages": []}, "cannot be set here"),
    ],
)
def test_a_parameter_with_another_place_is_refused(params: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LiteLLMSettings(params=params)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yaml"
    path.write_text(ROUTING)
    return path


def test_a_fault_in_params_is_told_at_its_place(file: Path, table: PriceTable) -> None:
    file.write_text(ROUTING.replace("aws_region_name: us-east-1", "timeout: 3"))
    with pytest.raises(ConfigInvalid) as raised:
        load(file, {}, find_kinds, table=table)
    assert "routing.yaml:6:12: providers.bedrock: params.timeout: write `timeout_s`" in str(raised.value)


def test_a_handler_must_be_named_with_its_file(file: Path, table: PriceTable) -> None:
    file.write_text(ROUTING.replace("my_file.my_instance", "my_instance"))
    with pytest.raises(ConfigInvalid, match="handler"):
        load(file, {}, find_kinds, table=table)


def test_the_names_of_litellm_have_prices_and_the_names_of_a_handler_none(file: Path, table: PriceTable) -> None:
    settings = load(file, {}, find_kinds, table=table).settings
    priced = {}
    for name, model in settings.models.items():
        provider = settings.providers[model.provider or ""]
        facts = table.facts(provider.vendor, model.name or name, provider.base_url)
        priced[name] = facts is not None and facts.price is not None
    assert priced == {"terra": True, "claude": True, "elsewhere": False, "mine": False}


def asked(**fields: object) -> Call:
    raw = {"model": "x", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = a_request("Hi", stream=bool(fields.get("stream")), n=fields.get("n"))
    return a_call(request, model="vendor/m-1", raw=msgspec.json.encode(raw))


def test_only_what_a_request_may_say_is_passed() -> None:
    known: dict[str, object] = {
        "temperature": 0,
        "stop": ["x"],
        "tools": [],
        "reasoning_effort": "low",
        "logit_bias": {"5": 1},
    }
    other: dict[str, object] = {
        "api_base": "http://x",
        "mock_response": "x",
        "metadata": {"a": "b"},
        "fallbacks": ["y"],
        "new": 1,
    }
    passed, dropped = arguments(asked(**known, **other), None)
    assert passed == {"messages": [{"role": "user", "content": "Hi"}], **known}
    assert set(dropped) == set(other)


def test_what_the_vendor_does_not_take_is_dropped_and_named() -> None:
    passed, dropped = arguments(asked(seed=7, temperature=1), {"temperature"})
    assert (set(passed), dropped) == ({"messages", "temperature"}, ("seed",))


def test_null_says_nothing() -> None:
    assert arguments(asked(seed=None), {"temperature"}) == ({"messages": [{"role": "user", "content": "Hi"}]}, ())


def test_strict_refuses_what_would_be_dropped() -> None:
    with pytest.raises(MuxerError, match="seed") as raised:
        arguments(msgspec.structs.replace(asked(seed=7), strict=True), {"temperature"})
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "call",
    [
        msgspec.structs.replace(asked(), output_cap=5),
        asked(n=2),
        a_call(a_request("Hi", tools=(Tool(type="mcp"),))),
        msgspec.structs.replace(
            asked(),
            request=a_request(
                messages=(Message(role="user", content=(FilePart(msgspec.Raw(b'{"file_id":"http://x"}')),)),)
            ),
        ),
    ],
    ids=["a cap", "several answers", "a tool of the vendor's", "a file by address"],
)
def test_what_would_change_the_meaning_or_the_bill_is_refused(call: Call) -> None:
    with pytest.raises(Unsupported):
        arguments(call, {"temperature", "tools"})


def test_the_cap_of_the_budget_is_sent() -> None:
    passed, _ = arguments(msgspec.structs.replace(asked(max_completion_tokens=900), output_cap=300), None)
    assert passed["max_tokens"] == 300
    assert "max_completion_tokens" not in passed


def counted(**fields: Any) -> Usage | None:
    """The usage of an object with these attributes, as LiteLLM's are."""
    return read_usage(SimpleNamespace(**{name: _object(value) for name, value in fields.items()}))


def _object(value: Any) -> Any:
    return SimpleNamespace(**value) if isinstance(value, Mapping) else value


def test_usage_counts_what_was_cached_and_what_was_thought() -> None:
    assert counted(
        prompt_tokens=100,
        completion_tokens=20,
        total_tokens=120,
        prompt_tokens_details={"cached_tokens": 60, "cache_creation_tokens": 30},
        completion_tokens_details={"reasoning_tokens": 5},
    ) == Usage(input_tokens=100, output_tokens=20, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=5)


def test_usage_by_anthropics_names() -> None:
    usage = counted(prompt_tokens=50, completion_tokens=1, cache_read_input_tokens=20, cache_creation_input_tokens=40)
    # More than there was cannot have been written.
    assert usage == Usage(input_tokens=50, output_tokens=1, cached_input_tokens=20, cache_write_tokens=30)


def test_reasoning_that_is_only_in_the_total_counts_as_output() -> None:
    assert counted(prompt_tokens=5, completion_tokens=2, total_tokens=17) == Usage(input_tokens=5, output_tokens=12)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 10**18, "completion_tokens": 5},
        {"prompt_tokens": None, "completion_tokens": None},
    ],
)
def test_usage_that_cannot_be_is_missing(fields: dict[str, Any]) -> None:
    assert counted(**fields) is None
    assert read_usage(None) is None


def test_a_file_beside_the_configuration_is_found_and_read_anew(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "mine.py"
    file.write_text("value = 'first'")
    assert load_instance("deep.mine.value", tmp_path) == "first"
    file.write_text("value = 'second'")
    assert load_instance("deep.mine.value", tmp_path) == "second"


def test_an_installed_module_is_found_too(tmp_path: Path) -> None:
    assert load_instance("json.dumps", tmp_path) is json.dumps


@pytest.mark.parametrize("text", ["1 / 0", "import sys; sys.exit(1)", "import nothing_of_that_name", "value = ("])
def test_a_file_that_does_not_run_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ConfigInvalid, match=r"bad\.value: bad does not import"):
        load_instance("bad.value", tmp_path)


def test_an_event_has_no_prompt_and_the_cost_in_dollars() -> None:
    told = event(
        a_record(state="done", cost_nanos=2_500_000, tags=("a",), notes={"seen": "x"}), Library(None, None, None)
    )
    standard = told["standard_logging_object"]
    assert (told["messages"], standard["messages"], standard["response"]) == (None, None, None)
    assert (told["response_cost"], standard["response_cost"], standard["request_tags"]) == (0.0025, 0.0025, ["a"])
    assert (told["exception"], standard["error_information"]) == (None, None)
