import argparse
import json
from pathlib import Path

import pytest

from muxer.cli import check

GOOD = """\
version: 1
plugins: [openai, sqlite]
providers: {main: {kind: openai, api_key: "${NO_SUCH_KEY_IS_SET}"}}
models: {own: {provider: main, price: free}}
limits: []
keys: []
"""


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.add(parser)
    return check.run(parser.parse_args(arguments))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_ok_and_what_is_unavailable_is_noted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(file)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: providers.main is unavailable: NO_SUCH_KEY_IS_SET is not set",
        f"ok: {file}: 1 model, 0 routes",
    ]


def test_faults_are_printed_one_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("provider: main", "provider: mian"))
    assert _run(str(file)) == 1
    assert capsys.readouterr().out == (f"{file}:4:26: models.own.provider: no provider 'mian'; did you mean 'main'?\n")


def test_json_has_each_part_of_a_fault(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "timezone: Mars\n")
    assert _run(str(file), "--json") == 1
    fault = {"file": str(file), "line": 7, "column": 11, "path": "timezone", "message": "no time zone 'Mars'"}
    hint = {"hint": "for example Europe/Zurich"}
    assert json.loads(capsys.readouterr().out) == {"ok": False, "errors": [fault | hint], "warnings": []}


def test_a_literal_secret_is_a_warning_and_with_strict_an_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("${NO_SUCH_KEY_IS_SET}", "sk-in-clear"))
    assert _run(str(file)) == 0
    assert capsys.readouterr().out.startswith("warning: ")
    assert _run(str(file), "--strict", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], len(answer["errors"]), answer["warnings"]) == (False, 1, [])
    assert "in-clear" not in json.dumps(answer)


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(tmp_path / "absent.yaml")) == 1
    assert "absent.yaml: no such file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "place"),
    [
        (
            "authenticators: [{kind: jwt, issuer: i, audience: a, secret: 0123456789abcdef0123456789abcdef}]",
            "[0].secret",
        ),
        ('guards: [{kind: cache, url: "redis://me:canary@127.0.0.1:1"}]', "[0].url"),
        ('guards: [{kind: redact, patterns: {token: "T-[0-9]+"}}]', None),
    ],
    ids=range(3),
)
def test_secrets_of_guards_and_authenticators_are_seen_too(
    file: Path, capsys: pytest.CaptureFixture[str], section: str, place: str | None
) -> None:
    plugins = "plugins: [cache, jwt, redact, "
    file.write_text(GOOD.replace("plugins: [", plugins) + section + "\n")
    assert _run(str(file), "--strict") == (1 if place else 0)
    said = "".join(capsys.readouterr())
    assert (f"{place}: a secret is written in the file" in said) == (place is not None) and "canary" not in said
