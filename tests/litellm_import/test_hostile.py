"""Whatever the input says, there is a report, soon, and the proxy takes what is made of it."""

import tempfile
from datetime import timedelta
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from muxer.litellm_import.convert import Converted, convert
from muxer.litellm_import.source import MOST_VALUES
from tests.litellm_import.examples import INPUTS, PLUGINS, PRICES, faults, report

SOON = timedelta(seconds=5)
NAMES = ["gpt-4o", "auto:x", "0x1", "a/b*", "*", "${X}", "$${X}", "\U0001f600", "\x85", "a\tb", ""]
MODELS = [
    "openai/gpt-4o", "gpt-4o", "azure/x", "openai/*", "hosted_vllm/x", "ollama/y", "os.environ/M", "nobody/x", "",
    "*/*", "gemini/z", "own/${X}", "anthropic/${X}",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2.5, 1e-9, 1e300, 10**30, "7", "1e3", "1e-40", "many", True, None, "os.environ/N", float("nan")]
TEXTS = ["os.environ/KEY", "os.environ/not a name", "sk-canary-secret", "none", "http://x:1", "http://[", "a: #b", "\n"]


def _table(keys: list[str], values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.sampled_from(keys), values, max_size=6)


def _values() -> st.SearchStrategy[object]:
    scalars = st.sampled_from([*NAMES, *NUMBERS, *TEXTS]) | st.text(max_size=4)
    names = st.sampled_from(NAMES)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
    )


LABELS = ["a", "b", "c", "auto", "x/*", "yes", "a-1", "a-alone", "a-pool"]
"""Names that several entries, fallbacks and aliases of one configuration share."""


def _entries() -> st.SearchStrategy[object]:
    numbers, others = st.sampled_from(NUMBERS), _values()
    params = st.fixed_dictionaries(
        {"model": st.sampled_from(["openai/gpt-4o", "azure/x", "groq/*"]) | st.sampled_from(MODELS)},
        optional={
            **dict.fromkeys(("rpm", "weight", "order", "timeout", "max_budget", "seed", "tpm"), numbers),
            **dict.fromkeys(("input_cost_per_token", "output_cost_per_token_above_128k_tokens"), numbers),
            **dict.fromkeys(("api_key", "organization", "stop"), st.sampled_from(TEXTS)),
            "budget_duration": st.sampled_from(["1d", "30d", "0d", "7w", "99999d", "soon"]),
            "extra_headers": others,
            "litellm_credential_name": st.just("one"),
        },
    )
    info = _table(["mode", "max_tokens", "max_input_tokens", "supports_vision", "base_model", "id"], numbers | others)
    names = st.sampled_from(LABELS) | st.sampled_from(NAMES)
    entry = st.fixed_dictionaries({"model_name": names, "litellm_params": params}, optional={"model_info": info})
    return st.lists(entry, min_size=1, max_size=5) | st.lists(entry | others, max_size=4)


def _pairs() -> st.SearchStrategy[object]:
    names = st.sampled_from(LABELS)
    pairs = st.dictionaries(names | st.just("*"), st.lists(names, max_size=3), max_size=4)
    return st.lists(pairs, max_size=3) | pairs | _values()


def _section() -> st.SearchStrategy[object]:
    names, numbers, others = st.sampled_from(LABELS), st.sampled_from(NUMBERS), _values()
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"), _pairs()),
            "default_fallbacks": st.lists(names, max_size=2) | others,
            "model_group_alias": st.dictionaries(names | st.just("z"), names, max_size=3) | others,
            "routing_strategy": st.sampled_from(["simple-shuffle", "cost-based-routing", "soon"]) | others,
            **dict.fromkeys(("redis_host", "redis_password", "redis_url"), st.sampled_from(TEXTS) | others),
            **dict.fromkeys(("redis_port", "timeout", "max_budget", "budget_duration"), numbers),
            "default_team_params": _table(["max_budget", "budget_duration", "rpm_limit"], numbers),
            **dict.fromkeys(("tag_budget_config", "callbacks", "drop_params", "custom_provider_map", "other"), others),
        },
    )


def _credentials() -> st.SearchStrategy[object]:
    values = _table(["api_key", "api_base", "api_version"], st.sampled_from(TEXTS))
    return st.lists(
        st.fixed_dictionaries({"credential_name": st.just("one"), "credential_values": values}) | _values(), max_size=2
    )


CONFIGURATIONS = st.fixed_dictionaries(
    {"model_list": _entries()},
    optional={
        "router_settings": _section(),
        "litellm_settings": _section(),
        "general_settings": _table(["master_key", "completion_model", "max_parallel_requests", "other"], _values()),
        "credential_list": _credentials(),
        "environment_variables": _values(),
        "include": _values(),
    },
)


def _absent(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", name)


def _convert(data: bytes) -> Converted:
    result = convert(data, "config.yaml", _absent, PRICES, PLUGINS)
    assert result.text or result.report.has_errors
    assert "canary" not in report(result) + result.text
    return result


def _is_taken(result: Converted) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert faults(result.text, Path(folder)) == []


@given(CONFIGURATIONS)
@settings(deadline=SOON, max_examples=100)
def test_any_configuration_gives_a_result_the_proxy_takes(configuration: dict[str, object]) -> None:
    _is_taken(_convert(yaml.safe_dump(configuration, allow_unicode=True).encode()))


@given(_values())
@settings(deadline=SOON)
def test_any_yaml_gives_a_report(value: object) -> None:
    _convert(yaml.safe_dump(value, allow_unicode=True).encode())


@given(st.binary(max_size=100) | st.text(alphabet="{}[],:-&*!|>'\"%@`#?\n\t ab<${}", max_size=60).map(str.encode))
@settings(deadline=SOON)
def test_any_bytes_give_a_report(data: bytes) -> None:
    _convert(data)


@given(st.sampled_from(INPUTS), st.data())
@settings(deadline=SOON)
def test_an_example_cut_or_stirred_gives_a_report(path: Path, data: st.DataObject) -> None:
    text = path.read_bytes().replace(b"canary", b"wary")
    at = data.draw(st.integers(0, len(text)))
    _convert(text[:at])
    result = _convert(text[:at] + data.draw(st.sampled_from([b"*a", b"&a", b"- ", b": ", b"{", b"!!x "])) + text[at:])
    if result.text:
        _is_taken(result)


def test_a_secret_in_the_place_of_a_fallback_makes_no_model_of_its_name() -> None:
    entry = "{model_name: '*', litellm_params: {model: groq/*}}"
    _convert(f"{{model_list: [{entry}], router_settings: {{fallbacks: sk-canary-secret}}}}".encode())


def _words(data: bytes) -> list[str]:
    return [finding.words for finding in _convert(data).report if finding.outcome == "wrong"]


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    assert _words("\n".join(lines).encode()) == [f"more than {MOST_VALUES:,} values, aliases written out"]


def test_a_bomb_of_depth_is_refused() -> None:
    assert _words(b"[" * 40 + b"]" * 40) == ["nested more than 32 deep"]
    assert len(_words(b"[" * 100_000)) == 1


def test_a_file_over_1_mb_is_refused() -> None:
    assert _words(b"#" * 1_000_001) == ["larger than 1 MB"]


def test_an_alias_within_itself_is_wrong() -> None:
    assert "an alias to nothing before it" in _words(b"model_list: &a [*a]")[0]


def test_a_python_object_is_wrong_and_not_made() -> None:
    assert "a YAML tag, which LiteLLM's" in _words(b"model_list: !!python/object/apply:os.abort []")[0]


def test_thousands_of_models_come_to_an_end() -> None:
    entry = "- {model_name: m%d, litellm_params: {model: openai/m%d}}"
    data = "model_list:\n" + "\n".join(entry % (n, n) for n in range(2_500))
    assert _words(data.encode())[0] == "more than 2,000 models, wildcards written out"


def test_a_secret_in_the_place_of_a_version_is_not_copied() -> None:
    entry = "{model_name: a, litellm_params: {model: azure/x, api_version: sk-canary-secret}}"
    result = _convert(f"{{model_list: [{entry}]}}".encode())
    assert "api_version: ${A_API_VERSION}" in result.text.replace('"', "")
    _is_taken(result)
