"""`muxer import-litellm`: where result and report go, and what the exit code says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

CONFIG = """\
model_list:
  - model_name: gpt-6.1-terra
    litellm_params: {model: openai/gpt-6.1-terra, api_key: sk-canary-1234}
general_settings: {alerting: [slack]}
"""
ROUTING = """\
# Made by `muxer import-litellm` from config.yaml. The comments say where each line comes from.
version: 1

plugins: [openai, sqlite]

store: {kind: sqlite, path: muxer.db}

providers:
  openai: {kind: openai, api_key: "${GPT_6_1_TERRA_API_KEY}"}  # config.yaml:2:5

models:
  gpt-6.1-terra: {provider: openai}  # config.yaml:2:5

limits: []
"""
REPORT = """\
config.yaml:2:5: model_list[0].model_name: mapped: a model of that name
config.yaml:3:22: model_list[0].litellm_params.model: mapped: served by providers.openai
config.yaml:3:51: model_list[0].litellm_params.api_key: approximated: a secret is not copied; put it in the variable \
GPT_6_1_TERRA_API_KEY
config.yaml:4:20: general_settings.alerting: dropped: alert on the metrics instead: docs/operate.md lists the \
expressions worth it
set GPT_6_1_TERRA_API_KEY: the secret that stands in config.yaml:3:51
4 keys: 2 mapped, 1 approximated, 1 dropped, 0 wrong
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.usefixtures("config")
def test_the_result_goes_to_stdout_and_the_report_to_stderr(muxer: Callable[..., Ran]) -> None:
    assert muxer("import-litellm", "config.yaml") == Ran(0, ROUTING, REPORT)


@pytest.mark.usefixtures("config")
def test_the_result_passes_check(muxer: Callable[..., Ran]) -> None:
    assert muxer("import-litellm", "config.yaml", "-o", "routing.yaml").out == ""
    ran = muxer("check", "routing.yaml", "--strict")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "ok: routing.yaml: 1 model, 0 routes")


@pytest.mark.usefixtures("config")
def test_the_report_is_json_too(muxer: Callable[..., Ran], tmp_path: Path) -> None:
    muxer("import-litellm", "config.yaml", "--report", "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"mapped": 2, "approximated": 1, "dropped": 1, "wrong": 0}
    assert report["keys"][1] == {
        "path": "model_list[0].litellm_params.model", "file": "config.yaml", "line": 3, "column": 22,
        "outcome": "mapped", "words": "served by providers.openai",
    }  # fmt: skip
    assert report["variables"] == {"GPT_6_1_TERRA_API_KEY": "the secret that stands in config.yaml:3:51"}
    assert report["ok"] is True


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_file_that_exists_is_kept(muxer: Callable[..., Ran], tmp_path: Path, option: str) -> None:
    (tmp_path / "mine").write_text("mine")
    ran = muxer("import-litellm", "config.yaml", option, "mine")
    assert ran == Ran(2, "", "mine exists; --force writes over it\n")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.usefixtures("config")
def test_force_writes_over_it(muxer: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert muxer("import-litellm", "config.yaml", "-o", "mine", "--force").code == 0
    assert (tmp_path / "mine").read_text() == ROUTING


def test_the_input_is_never_written_over(muxer: Callable[..., Ran], config: Path) -> None:
    ran = muxer("import-litellm", "config.yaml", "-o", "./config.yaml", "--force")
    assert (ran.code, config.read_text()) == (2, CONFIG)


def test_errors_of_the_input_are_exit_1_and_the_rest_is_made(muxer: Callable[..., Ran], config: Path) -> None:
    config.write_text(CONFIG + "router_settings: {timeout: soon}\n")
    ran = muxer("import-litellm", "config.yaml")
    assert (ran.code, ran.out) == (1, ROUTING)
    assert "config.yaml:5:28: router_settings.timeout: wrong: expected a number\n" in ran.err


def test_no_yaml_makes_no_file(muxer: Callable[..., Ran], config: Path, tmp_path: Path) -> None:
    config.write_text("model_list: [")
    assert muxer("import-litellm", "config.yaml", "-o", "routing.yaml").code == 1
    assert not (tmp_path / "routing.yaml").exists()


@pytest.mark.parametrize("name", ["absent.yaml", ".", "nul\0"])
def test_a_file_that_cannot_be_read_is_exit_2(muxer: Callable[..., Ran], name: str) -> None:
    ran = muxer("import-litellm", name)
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be read" in ran.err


@pytest.mark.usefixtures("config")
def test_a_result_that_cannot_be_written_is_exit_2(muxer: Callable[..., Ran]) -> None:
    ran = muxer("import-litellm", "config.yaml", "-o", "absent/routing.yaml")
    assert (ran.code, ran.err) == (2, "absent/routing.yaml: cannot be written: No such file or directory\n")


def test_a_link_does_not_lead_out_of_the_folder(muxer: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("general_settings: {master_key: outside}")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "inside" / "config.yaml").write_text("include: [link.yaml]\nmodel_list: []\n")
    ran = muxer("import-litellm", "inside/config.yaml")
    assert ran.code == 1
    assert "config.yaml:1:11: include[0]: wrong: cannot be read: outside the folder" in ran.err
