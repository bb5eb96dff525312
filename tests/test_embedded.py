"""The proxy inside a program: LiteLLM's call shape on the same pipeline."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from muxer import BudgetExceeded, ConfigInvalid, Muxer, MuxerError, UpstreamCut
from muxer.testing import Cut, Say, ScriptedUpstream, Stall
from tests.proxy import SECTIONS

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(Say(text="It is Paris.")) as upstream:
        yield upstream


@pytest.fixture
async def mux(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Muxer]:
    sections = {**SECTIONS, "keys": "[]", "limits": "[{per: user, daily_usd: 1}]"}
    text = "\n".join(f"{name}: {section}" for name, section in sections.items())
    (tmp_path / "routing.yaml").write_text(text.replace("UPSTREAM", upstream.url))
    async with Muxer.from_yaml(tmp_path / "routing.yaml") as mux:
        yield mux


def recorded(folder: Path) -> tuple[str, str, int, int]:
    """State, user, whether the client left, and what is held, of the last record."""
    with closing(sqlite3.connect(folder / "muxer.db")) as db:
        query = "SELECT state, user, client_gone, held_nanos FROM requests ORDER BY id DESC"
        found: tuple[str, str, int, int] = db.execute(query).fetchone()
    return found


async def test_an_answer_can_be_read_by_attribute_or_by_key(mux: Muxer) -> None:
    answer = await mux.acompletion(messages=MESSAGES)
    assert answer.choices[0].message.content == answer["choices"][0]["message"]["content"] == "It is Paris."
    assert (answer.model, answer.router_metadata.selected_model) == ("small", "small")
    assert answer.choices[0].message.nothing is None


async def test_fields_of_the_request_are_those_of_the_api(mux: Muxer, upstream: ScriptedUpstream) -> None:
    await mux.acompletion(messages=MESSAGES, model="large", max_tokens=7, odd={"a": 1})
    body = upstream.calls[0].body
    assert (body["model"], body["max_tokens"], body["odd"]) == ("large-1", 7, {"a": 1})


async def test_a_stream_is_an_iterator_of_chunks(mux: Muxer, tmp_path: Path) -> None:
    stream = await mux.acompletion(messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "It is Paris."
    assert {chunk.model for chunk in chunks} == {"small"}
    assert recorded(tmp_path) == ("done", "anonymous", False, 0)


async def test_a_stream_that_breaks_raises(mux: Muxer, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(None, Cut(after_bytes=1_000, then=Say(text="word " * 100)))
    with pytest.raises(UpstreamCut):
        _ = [chunk async for chunk in await mux.acompletion(messages=MESSAGES, stream=True)]
    assert recorded(tmp_path) == ("failed", "anonymous", False, 0)


async def test_a_stream_left_early_is_settled_and_ends_the_upstream_call(
    mux: Muxer, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstream.script(None, Stall(after_pieces=3))
    stream = await mux.acompletion(messages=MESSAGES, stream=True)
    async with aclosing(stream):
        async for _ in stream:
            break
    await upstream.idle()
    assert len(upstream.abandoned) == 1
    assert recorded(tmp_path) == ("failed", "anonymous", True, 0)


async def test_the_user_of_a_request_is_who_pays(mux: Muxer, tmp_path: Path) -> None:
    await mux.acompletion(messages=MESSAGES, user="carol")
    assert recorded(tmp_path)[1] == "carol"
    await mux.acompletion(messages=MESSAGES)
    assert recorded(tmp_path)[1] == "anonymous"


async def test_errors_are_raised_as_they_are(mux: Muxer) -> None:
    with pytest.raises(MuxerError, match="does not exist"):
        await mux.acompletion(messages=MESSAGES, model="gpt-9")
    with pytest.raises(BudgetExceeded):
        await mux.acompletion(messages=MESSAGES, max_tokens=10**6)
    with pytest.raises(MuxerError, match="messages"):
        await mux.acompletion(messages=[])


async def test_text_that_is_none_is_an_error_of_ours(mux: Muxer) -> None:
    for odd in ("\ud83d", object()):
        with pytest.raises(MuxerError, match="the request is not JSON"):
            await mux.acompletion(messages=[{"role": "user", "content": odd}])


async def test_it_must_be_entered_first() -> None:
    with pytest.raises(MuxerError, match="enter the Muxer first"):
        await Muxer.from_yaml("routing.yaml").acompletion(messages=MESSAGES)


async def test_a_file_that_cannot_be_used_is_told_on_entering(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no such file"):
        async with Muxer.from_yaml(tmp_path / "absent.yaml"):
            pass
