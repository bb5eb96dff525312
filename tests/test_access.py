"""Who asks: from headers to a caller."""

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from muxer.access import ANONYMOUS, Callers, Keys, credential, digest, may_use
from muxer.errors import InvalidAPIKey, KeyDisabled
from muxer.keyring import Keyring, Known
from muxer.types import Caller
from tests.proxy import OpenProxy, Silent

ALICE = Caller(key="k-1", user="alice")
END_S = 1_800_000_000.0


def keys(*known: Known, now: float = END_S - 1) -> Keys:
    return Keys(known, Keyring(None, Silent()), lambda: now)


def known(secret: str, caller: Caller, expires_at: float | None = None) -> Known:
    return Known(digest=digest(secret), caller=caller, expires_at=expires_at)


KEYS = keys(known("sk-alice", ALICE), known("sk-bob", Caller(key="k-2", user="bob")))


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


async def test_a_known_key_is_its_caller() -> None:
    assert await KEYS.caller({"Authorization": "Bearer sk-alice"}) is ALICE


@given(st.text())
async def test_any_other_key_is_nobody(secret: str) -> None:
    if secret.strip() in ("sk-alice", "sk-bob"):
        return
    with pytest.raises(InvalidAPIKey):
        await KEYS.caller({"x-api-key": secret})


async def test_the_message_tells_a_missing_key_from_a_wrong_one_and_quotes_neither() -> None:
    with pytest.raises(InvalidAPIKey, match="no API key"):
        await KEYS.caller({})
    with pytest.raises(InvalidAPIKey, match="not known") as raised:
        await KEYS.caller({"x-api-key": "sk-alicf"})
    assert "alic" not in raised.value.message


async def test_without_keys_everybody_is_anonymous() -> None:
    callers = Callers(keys())
    assert await callers.is_open() and not await Callers(KEYS).is_open()
    assert await callers.caller({"x-api-key": "anything"}) is await callers.caller({}) is ANONYMOUS


async def test_a_key_works_until_the_instant_it_expires() -> None:
    one = known("sk-alice", ALICE, expires_at=END_S)
    assert await keys(one, now=END_S - 0.001).caller({"x-api-key": "sk-alice"}) is ALICE
    with pytest.raises(KeyDisabled, match="expired at 2027-01-15T08:00:00Z"):
        await keys(one, now=END_S).caller({"x-api-key": "sk-alice"})


async def test_a_key_that_has_expired_does_not_open_the_door() -> None:
    late = keys(known("sk-alice", ALICE, expires_at=END_S), now=END_S + 1)
    assert not await Callers(late).is_open()
    with pytest.raises(InvalidAPIKey, match="no API key"):
        await Callers(late).caller({})


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


async def test_an_authenticator_does_not_let_in_who_comes_with_a_key_that_has_ended(proxy: OpenProxy) -> None:
    keys = "[{name: ci, secret: sk-ci, expires: '2020-01-01T00:00:00Z'}]"
    running = await proxy(plugins="[openai, sqlite, tests.odd_guards]", authenticators="[{kind: portal}]", keys=keys)
    async with running.client.get("/user/stats", headers={"x-portal": "carol", "x-api-key": "sk-ci"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, "key_disabled")
    async with running.client.get("/user/stats", headers={"x-portal": "carol"}) as response:
        assert response.status == 200
