"""Who asks: from headers to a caller."""

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from muxer.access import ANONYMOUS, Callers, Keys, Known, credential, digest, may_use
from muxer.errors import InvalidAPIKey
from muxer.types import Caller
from tests.proxy import OpenProxy

ALICE = Caller(key="k-1", user="alice")
KEYS = Keys([Known(digest("sk-alice"), ALICE), Known(digest("sk-bob"), Caller(key="k-2", user="bob"))])


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Authorization": "Bearer sk-1"}, "sk-1"),
        ({"authorization": "bearer   sk-1 "}, "sk-1"),
        ({"x-api-key": " sk-1 "}, "sk-1"),
        ({"Authorization": "Bearer ", "x-api-key": "sk-1"}, "sk-1"),
        ({"Authorization": "Basic c2st", "x-api-key": "sk-1"}, "sk-1"),
        ({"Authorization": "Bearer sk-1", "x-api-key": "sk-2"}, "sk-1"),
        ({"Authorization": "sk-1"}, ""),
        ({"Authorization": "Basic sk-1"}, ""),
        ({}, ""),
    ],
)
def test_a_key_comes_in_either_header(headers: Mapping[str, str], found: str) -> None:
    assert credential(CIMultiDict(headers)) == found


def test_a_known_key_is_its_caller() -> None:
    assert KEYS.caller({"Authorization": "Bearer sk-alice"}) is ALICE


@given(st.text())
def test_any_other_key_is_nobody(secret: str) -> None:
    if secret.strip() in ("sk-alice", "sk-bob"):
        return
    with pytest.raises(InvalidAPIKey):
        KEYS.caller({"x-api-key": secret})


def test_the_message_tells_a_missing_key_from_a_wrong_one_and_quotes_neither() -> None:
    with pytest.raises(InvalidAPIKey, match="no API key"):
        KEYS.caller({})
    with pytest.raises(InvalidAPIKey, match="not known") as raised:
        KEYS.caller({"x-api-key": "sk-alicf"})
    assert "alic" not in raised.value.message


async def test_without_keys_everybody_is_anonymous() -> None:
    callers = Callers(Keys([]))
    assert callers.is_open and not Callers(KEYS).is_open
    assert await callers.caller({"x-api-key": "anything"}) is await callers.caller({}) is ANONYMOUS


def test_only_digests_of_keys_are_kept() -> None:
    assert digest("sk-alice") == hashlib.sha256(b"sk-alice").hexdigest()
    assert "sk-alice" not in repr(vars(KEYS))


def test_bytes_that_are_no_text_have_a_digest_too() -> None:
    assert digest("sk-\udcff") == hashlib.sha256(b"sk-\xff").hexdigest()


@pytest.mark.parametrize(
    ("globs", "model", "allowed"),
    [
        ((), "anything", True),
        (("gpt-*",), "gpt-5", True),
        (("gpt-*",), "GPT-5", False),
        (("gpt-?", "claude-*"), "claude-x", True),
        (("gpt-?",), "gpt-10", False),
    ],
)
def test_a_key_may_be_for_some_models_only(globs: tuple[str, ...], model: str, allowed: bool) -> None:
    assert may_use(Caller(key="k", user="u", models=globs), model) is allowed


@pytest.mark.parametrize(
    ("does", "headers", "status", "code"),
    [
        ("knows", {"x-portal": "carol"}, 200, ""),
        ("knows", {"x-portal": "forged"}, 401, "invalid_api_key"),
        ("knows", {}, 401, "invalid_api_key"),
        ("knows", {"x-api-key": "sk-alice"}, 200, ""),
        ("raises", {"x-portal": "carol"}, 503, "authenticator_unavailable"),
        ("raises", {"x-api-key": "sk-alice"}, 200, ""),
        ("returns junk", {"x-portal": "carol"}, 503, "authenticator_unavailable"),
    ],
)
async def test_authenticators_are_asked_about_what_no_key_fits(
    proxy: OpenProxy, does: str, headers: dict[str, str], status: int, code: str
) -> None:
    authenticators = f"[{{kind: portal, does: {does}}}]"
    running = await proxy(plugins="[openai, sqlite, tests.odd_guards]", authenticators=authenticators)
    for _ in range(2):
        async with running.client.get("/user/stats", headers=headers) as response:
            body = await response.json()
            assert (response.status, body.get("error", {}).get("code", "")) == (status, code)
    assert status != 200 or body["user"] in ("carol", "alice")
    assert "secret" not in str(running.log.lines)


async def test_with_an_authenticator_nobody_is_anonymous(proxy: OpenProxy) -> None:
    running = await proxy(plugins="[openai, sqlite, tests.odd_guards]", authenticators="[{kind: portal}]", keys="[]")
    async with running.client.get("/user/stats") as response:
        assert response.status == 401
