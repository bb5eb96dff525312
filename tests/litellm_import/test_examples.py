"""Each example gives the result and the report that stand beside it, and the proxy takes the result."""

import re
from pathlib import Path

import pytest
import yaml

from muxer.litellm_import.convert import convert
from muxer.prices import PriceTable
from tests.litellm_import.examples import HERE, INPUTS, PLUGINS, PRICES, converted, expected, faults, loaded, report

BY_NAME = {path.stem: path for path in INPUTS}
READABLE = [path for path in INPUTS if path.stem != "not_yaml"]


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_the_result_and_the_report_are_as_expected(path: Path) -> None:
    result = converted(path)
    assert [result.text, report(result)] == [one.read_text() for one in expected(path)]


def test_no_expectation_is_left_over() -> None:
    wanted = {one for path in INPUTS for one in expected(path)}
    assert set((HERE / "expected").iterdir()) == wanted


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_the_proxy_takes_the_result(path: Path, tmp_path: Path, table: PriceTable) -> None:
    assert faults(converted(path).text, tmp_path) == []
    assert faults(converted(path, table).text, tmp_path, table) == []


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_nothing_is_written_in_the_result_that_check_warns_of(path: Path, tmp_path: Path) -> None:
    assert [str(one) for one in loaded(converted(path).text, tmp_path).warnings] == []


def _paths(value: object, path: str = "") -> list[str]:
    """The path of every single value, as the report names it."""
    if isinstance(value, dict):
        return [one for key, inner in value.items() for one in _paths(inner, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list):
        return [one for index, inner in enumerate(value) for one in _paths(inner, f"{path}[{index}]")]
    return [path]


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_every_key_of_the_input_is_told_of(path: Path) -> None:
    told = [finding.path for finding in converted(path).report]
    # A finding about a key is about all in it; one about an item of a list is about the list.
    silent = [
        one
        for one in _paths(yaml.safe_load(path.read_text()))
        if not any(
            one == known or one.startswith((f"{known}.", f"{known}[")) or known.startswith(one) for known in told
        )
        and not any(known.startswith(one.rpartition("[")[0] + "[") for known in told if "[" in one)
        and one.rpartition("[")[0] not in told
    ]
    assert silent == []


def test_no_secret_of_the_input_is_in_the_result_or_the_report() -> None:
    result = converted(BY_NAME["secrets"])
    told = result.text + report(result)
    assert "canary" in BY_NAME["secrets"].read_text()
    assert [word for word in told.lower().split() if "canary" in word] == []


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_the_report_names_exactly_the_variables_of_the_result(path: Path) -> None:
    result = converted(path)
    assert set(result.report.variables) == set(re.findall(r"(?<!\$)\$\{(\w+)\}", result.text))


def test_the_same_input_gives_the_same_result() -> None:
    assert {converted(BY_NAME["secrets"]).text for _ in range(3)} == {converted(BY_NAME["secrets"]).text}


def test_without_the_plugin_gemini_litellm_serves_it(tmp_path: Path) -> None:
    data = b"model_list: [{model_name: g, litellm_params: {model: gemini/gemini-flash, api_key: os.environ/KEY}}]"
    result = convert(data, "c.yaml", lambda name: b"", PRICES, PLUGINS - {"gemini"})
    settings = loaded(result.text, tmp_path).settings
    assert settings.providers["gemini"].kind == "litellm"
    assert settings.models["g"].name == "gemini/gemini-flash"


def test_the_page_on_coming_over_shows_a_real_result(table: PriceTable) -> None:
    page = (HERE.parent.parent / "docs" / "from-litellm.md").read_text()
    ((given, shown),) = re.findall(r"\n```\n(model_list:.*?)```.*?```yaml\n(.*?)```", page, re.DOTALL)
    result = convert(given.encode(), "config.yaml", lambda name: b"", table, PLUGINS)
    assert result.text.partition("\n")[2] == shown
