import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from muxer.access import digest
from muxer.keys import moment
from tests.cli.running import ROUTING, Ran

Run = Callable[..., Ran]
SECRET = re.compile(r"mux_([0-9a-f]{12})_[\w-]{43}\n")


def _listed(muxer: Run) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(muxer("keys", "list", "--json").out)
    return keys


def test_a_key_is_alone_on_stdout_and_kept_as_its_digest(routing: Path, muxer: Run) -> None:
    ran = muxer("keys", "create", "ci", "--team", "build")
    found = SECRET.fullmatch(ran.out)
    assert ran.code == 0 and found is not None
    assert f"ci (id {found[1]}, user ci, role user). Keep the key: it is shown only here." in ran.err
    assert "nobody is served without a key" in ran.err
    assert "nobody is served" not in muxer("keys", "create", "second").err
    data = b"".join(path.read_bytes() for path in routing.parent.glob("muxer.db*") if path.is_file())
    secret = ran.out.strip()
    assert digest(secret).encode() in data and secret.split("_", 2)[2].encode() not in data


def test_a_key_is_made_as_it_is_asked_for(routing: Path, muxer: Run) -> None:
    words = "--user alice --team build --tag a --tag b --model gpt-* --role viewer --expires 2099-01-31T00:00:00Z"
    limits = "--daily-usd 0.5 --requests-per-minute 60 --burst 5 --concurrent 2 --hold expected"
    made = json.loads(muxer("keys", "create", "ci", "--json", *words.split(), *limits.split()).out)
    key = made.pop("key")
    assert _listed(muxer) == [made]
    assert made | {"created": ""} == {
        "id": key.split("_")[1],
        "name": "ci",
        "state": "active",
        "user": "alice",
        "team": "build",
        "tags": ["a", "b"],
        "models": ["gpt-*"],
        "role": "viewer",
        "limits": [
            {
                "daily_usd": "0.5",
                "requests_per_minute": 60,
                "burst": 5,
                "concurrent": 2,
                "hold": "expected",
                "on_store_error": "refuse",
            }
        ],
        "metadata": {},
        "created": "",
        "expires": "2099-01-31T00:00:00Z",
        "revoked": None,
    }


def test_an_end_may_be_so_far_from_now(routing: Path, muxer: Run) -> None:
    before = time.time()
    muxer("keys", "create", "ci", "--expires", "30d")
    (key,) = _listed(muxer)
    ends = datetime.fromisoformat(key["expires"]).timestamp()
    assert before - 1 <= ends - 30 * 86_400 <= time.time()


def test_the_table_says_what_a_person_needs(routing: Path, muxer: Run) -> None:
    muxer("keys", "create", "ci", "--daily-usd", "5", "--concurrent", "2", "--expires", "2099-01-31T00:00:00Z")
    muxer("keys", "create", "root", "--role", "admin")
    muxer("keys", "revoke", "root")
    titles, ci, root = muxer("keys", "list").lines
    assert titles[:4] == ["id", "name", "state", "role"]
    assert ci[1:10] == ["ci", "active", "user", "ci", "2099-01-31", "00:00", "daily_usd=5", "concurrent=2", "-"]
    assert root[1:7] == ["root", "revoked", "admin", "root", "-", "-"]


def test_a_narrow_terminal_keeps_id_name_and_state(routing: Path, muxer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    muxer("keys", "create", "ci", "--daily-usd", "5", "--model", "a-model-with-a-long-name-*")
    (key,) = _listed(muxer)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    out = muxer("keys", "list").out
    assert key["id"] in out and "active" in out
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in out.splitlines()) <= 40


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_key_is_revoked_by_name_or_id_once_and_for_all(routing: Path, muxer: Run, by: str) -> None:
    muxer("keys", "create", "ci")
    key = _listed(muxer)[0]
    for _ in range(2):
        assert f"ci (id {key['id']}) is revoked" in muxer("keys", "revoke", key[by]).out
    assert json.loads(muxer("keys", "revoke", key[by], "--json").out)["state"] == "revoked"


def test_a_name_means_its_last_key(routing: Path, muxer: Run) -> None:
    for _ in range(2):
        assert muxer("keys", "create", "ci").code == 0
        assert muxer("keys", "revoke", "ci").code == 0
    assert [key["state"] for key in _listed(muxer)] == ["revoked"] * 2


def test_a_key_that_is_not_there_is_a_no(routing: Path, muxer: Run) -> None:
    for _ in range(2):
        ran = muxer("keys", "revoke", "nobody")
        assert (ran.code, ran.out) == (1, "")
        assert "muxer keys list shows them" in ran.err
        muxer("keys", "create", "ci")  # now there is a store


def test_without_a_store_there_are_no_keys_and_none_is_made(routing: Path, muxer: Run) -> None:
    assert muxer("keys", "list") == Ran(0, "no keys in the store; muxer keys create NAME makes one\n", "")
    assert _listed(muxer) == []
    assert [path.name for path in routing.parent.iterdir()] == ["routing.yaml"]


def test_keys_of_the_file_are_counted_beside(routing: Path, muxer: Run) -> None:
    routing.write_text(ROUTING + "keys: [{name: ci, secret: sk-1}, {name: cd, secret: sk-2}]\n")
    assert "and 2 keys of the file" in muxer("keys", "list").err
    ran = muxer("keys", "create", "ci")
    assert (ran.code, ran.out) == (2, "")
    assert "there is a key 'ci' already" in ran.err
    assert "nobody is served" not in muxer("keys", "create", "other").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ACTION"),
        (["create"], "NAME"),
        (["create", ""], "name"),
        (["create", "taken"], "there is a key 'taken' already; revoke it first"),
        (["create", "ci", "--daily-usd=-1"], "limits[0].daily_usd: must be from 0 to"),
        (["create", "ci", "--daily-usd", "ten"], "limits[0].daily_usd: Invalid decimal string"),
        (["create", "ci", "--burst", "5"], "limits[0]: no amount"),
        (["create", "ci", "--concurrent", "many"], "--concurrent"),
        (["create", "ci", "--expires", "3y"], "'3y' is no duration such as 12h or 30d, and no instant"),
        (["create", "ci", "--expires", "2020-01-01T00:00:00Z"], "expires: is past"),
        (["create", "ci", "--expires", "0s"], "expires: is past"),
        (["create", "ci", "--expires", "999999w"], "past the year 9999"),
        (["create", "ci", "--role", "root"], "--role"),
        (["create", "c\udcffi"], "not UTF-8"),
    ],
)
def test_what_is_no_key_is_wrong_usage(routing: Path, muxer: Run, words: list[str], said: str) -> None:
    muxer("keys", "create", "taken")
    ran = muxer("keys", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert len(_listed(muxer)) == 1


@pytest.mark.parametrize("words", [["create", "ci"], ["list"], ["revoke", "ci"]])
def test_a_store_that_keeps_no_keys_says_so(routing: Path, muxer: Run, words: list[str]) -> None:
    routing.write_text(ROUTING.replace("openai, sqlite", "openai, tests.odd_store") + "store: {kind: keyless}\n")
    ran = muxer("keys", *words)
    assert (ran.code, ran.out) == (2, "")
    assert "keeps no keys; list them under `keys` in routing.yaml" in ran.err


@pytest.mark.parametrize("at", [0.0, 1_800_000_000.0, 253_402_300_799.0])
def test_a_moment_reads_as_it_was_written(at: float) -> None:
    assert datetime.fromisoformat(moment(at)).timestamp() == at
