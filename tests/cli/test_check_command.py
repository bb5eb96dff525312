"""`muxer check`: one file or several, for people and for programs; and the pre-commit hook that runs it."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.cli.running import Ran

Run = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
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
    assert (ran.code, told["ok"], len(told["errors"]), len(told["warnings"])) == (1, False, 1, 1)
    assert told["errors"][0]["file"].endswith("bad.yaml") and told["errors"][0]["line"] == 7


def test_the_pre_commit_hook_fails_on_what_should_change(tmp_path: Path, muxer: Run) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    command, *words = shlex.split(hook["entry"])
    (tmp_path / "routing.yaml").write_text(YAML.replace("WHO", "m"))
    assert command == "muxer" and muxer(*words, str(tmp_path / "routing.yaml")).code == 1
    (tmp_path / "routing.yaml").write_text(YAML.replace("WHO", "m").replace("> 20", "> 5"))
    assert muxer(*words, str(tmp_path / "routing.yaml")).code == 0
