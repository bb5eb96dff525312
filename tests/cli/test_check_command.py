"""`muxer check`: one file or several, for people and for programs; and the pre-commit hook that runs it."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cli.running import Ran

Run = Callable[..., Ran]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
YAML = """\
version: 1
plugins: [openai, sqlite]
providers: {p: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models: {m: {provider: p, price: free}}
routes:
  - {name: a, when: "chars > 10", use: [m]}
  - {name: b, when: "chars > 20", use: [WHO]}
"""


def test_each_file_is_checked_and_warnings_do_not_fail(tmp_path: Path, muxer: Run) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(YAML.replace("WHO", "m"))
    bad.write_text(YAML.replace("WHO", "nobody"))
    ran = muxer("check", str(good))
    assert ran.code == 0 and "good.yaml:7:" in ran.out and "never reached: routes[0]" in ran.out
    ran = muxer("check", str(good), str(bad), "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["ok"], len(told["errors"]), len(told["warnings"])) == (1, False, 1, 2)
    assert told["errors"][0]["file"].endswith("bad.yaml") and told["errors"][0]["line"] == 7


def test_the_pre_commit_hook_fails_on_what_should_change(tmp_path: Path, muxer: Run) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    command, *words = shlex.split(hook["entry"])
    (tmp_path / "routing.yaml").write_text(YAML.replace("WHO", "m"))
    assert command == "muxer" and muxer(*words, str(tmp_path / "routing.yaml")).code == 1
    (tmp_path / "routing.yaml").write_text(YAML.replace("WHO", "m").replace("> 20", "> 5"))
    assert muxer(*words, str(tmp_path / "routing.yaml")).code == 0


def test_a_file_with_everything_wrong_is_told_all_of_it_at_once(tmp_path: Path, muxer: Run) -> None:
    """`all_wrong.txt` is what an operator reads. To change it, print it anew and read it as one."""
    (tmp_path / "routing.yaml").write_text((HERE / "all_wrong.yaml").read_text())
    ran = muxer("check", "routing.yaml")
    assert ran.code == 1 and ran.out == (HERE / "all_wrong.txt").read_text()
    strict = json.loads(muxer("check", "routing.yaml", "--strict", "--json").out)
    assert len(strict["errors"]) == ran.out.count("\n") and not strict["warnings"]
    assert all(fault["line"] and fault["column"] for fault in strict["errors"])


def test_a_plugin_that_is_missing_hides_nothing_that_can_be_known(tmp_path: Path, muxer: Run) -> None:
    text = YAML.replace("openai, sqlite", "openai, heuristic, sqlite").replace("api_key:", "timeout: 5, api_key:")
    (tmp_path / "routing.yaml").write_text(text.replace("chars > 10", "code > 0.5").replace("WHO", "nn"))
    lines = [line.partition(": ")[2] for line in muxer("check", "routing.yaml").out.splitlines()]
    assert [line.partition(";")[0] for line in lines] == [
        "plugins[1]: no plugin 'heuristic' is installed",
        "providers.p.timeout: unknown key 'timeout'",
        "routes[1].use[0]: no model 'nn'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("chars > 10", "difficulty > 0.5", "name the plugin difficulty under plugins"),
        ("kind: openai", "kind: mistral", "name the plugin mistral under plugins"),
    ],
)
def test_what_a_plugin_that_is_not_named_has_is_said(tmp_path: Path, muxer: Run, old: str, new: str, hint: str) -> None:
    (tmp_path / "routing.yaml").write_text(YAML.replace(old, new).replace("WHO", "m"))
    ran = muxer("check", "routing.yaml")
    assert ran.code == 1 and hint in ran.out
