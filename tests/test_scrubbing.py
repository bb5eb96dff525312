"""Secrets in what others wrote: taken out, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from muxer import ProviderSettings, Secret
from muxer.scrubbing import Scrubber, scrubbed, secrets_of
from muxer.secret import HIDDEN
from tests.proxy import Lines

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=8, max_size=20)


class Nested(Struct, frozen=True, kw_only=True):
    url: str = "redis://user:pass-word-1@host:6379/0"
    Token: str = "token-0001"
    size: int = 5
    headers: dict[str, Secret]
    address: Secret = Secret("redis://:pass-word-3@host")
    many: tuple[str, ...] = ("https://:pass-word-2@x/",)


@given(st.lists(SECRETS, max_size=4), st.text(max_size=20), st.data())
def test_no_secret_is_left_however_they_overlap(secrets: list[str], text: str, data: st.DataObject) -> None:
    scrub = Scrubber()
    scrub.learn(secrets)
    for secret in data.draw(st.lists(st.sampled_from(secrets or [""]), max_size=4)):
        text += secret + data.draw(st.text(max_size=3))
    assert not [secret for secret in secrets if secret in scrub(text)]


def test_what_was_learned_once_stays_a_secret() -> None:
    scrub = Scrubber()
    scrub.learn(["old-secret"])
    scrub.learn(["new-secret"])
    assert scrub("old-secret, new-secret") == f"{HIDDEN}, {HIDDEN}"


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnop",
        "mux_abcdefghijklmnopqrstuvwxyz",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "Bearer abcdefgh.ijkl",
        "https://user:pass@host/x",
        "https://host/x?a=1&key=abc",
        "https://host/x?api_key=abc",
    ],
)
def test_what_looks_like_a_key_is_taken_out(text: str) -> None:
    scrub, secret = Scrubber(), text.rpartition("=")[2].removeprefix("https://").split("@")[0].split(" ")[-1]
    assert secret not in scrub(f"it said {text}.") and HIDDEN in scrub(text)


@pytest.mark.parametrize("text", ["no model 'gpt-4oo'", "the key of alice", "https://host/v1/models", "task-force", ""])
def test_what_is_no_secret_stays(text: str) -> None:
    scrub = Scrubber()
    scrub.learn(["alice", "key", ""])
    assert scrub(text) == text


def test_the_secrets_of_settings_are_those_by_name_in_headers_and_in_addresses() -> None:
    assert sorted(secrets_of(Nested(headers={"x-team": Secret("header-001")}))) == [
        "header-001",
        "pass-word-1",
        "pass-word-2",
        "pass-word-3",
        "token-0001",
    ]
    assert list(secrets_of(ProviderSettings(api_key=Secret("provider-key")))) == ["provider-key"]


def test_a_log_is_looked_through_but_for_what_is_said_of_each_request() -> None:
    lines, scrub = Lines(), Scrubber()
    scrub.learn(["the-secret"])
    log = scrubbed(lines, scrub)
    log("warning", "failed", why="the-secret", all=[{"a": "the-secret"}], count=1)
    log("info", "request", model="the-secret")
    assert lines.lines == [
        {"level": "warning", "event": "failed", "why": HIDDEN, "all": [{"a": HIDDEN}], "count": 1},
        {"level": "info", "event": "request", "model": "the-secret"},
    ]
