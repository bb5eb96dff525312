"""RELIABILITY 2, B50 to B61: upstreams that answer wrongly. What other files prove is listed in `proven.py`."""

import pytest

from muxer.testing import Raw, Say
from muxer.types import Usage
from tests.bad_input.sending import nothing_is_left
from tests.proxy import OpenProxy, events

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":%d}}\n\n',
    b"data: [DONE]\n\n",
)
CAP = 4


def _writes(words: int) -> Raw:
    pieces = (*[WORD] * words, END[0], END[1] % words, END[2])
    return Raw(pieces=pieces, billed=Usage(10, words))


@pytest.mark.parametrize(("holds", "outcome"), [("bound", "presumed"), ("expected", "counted")])
async def test_bad_input_b59_what_is_written_past_the_cap_is_cut(proxy: OpenProxy, holds: str, outcome: str) -> None:
    opened = await proxy(_writes(200_000), limits=f"[{{per: user, daily_usd: 1, hold: {holds}}}]")
    stream = await events(await opened.chat(model="small", stream=True, max_tokens=CAP))
    record, accounts = await opened.last_record(), await opened.accounts()
    assert not stream.is_done and stream.data[-1]["error"]["code"] == "upstream_bad_response"
    assert len(stream.text) < 500
    assert [attempt.outcome for attempt in record.attempts] == [outcome]
    assert (accounts.held, accounts.spent, accounts.presumed) == (0, record.cost_nanos, record.presumed_nanos)
    assert record.cost_nanos + record.presumed_nanos > 0
    await opened.upstream.idle()
    assert len(opened.upstream.abandoned) == 1


async def test_bad_input_b59_long_words_within_the_cap_are_not_cut(proxy: OpenProxy) -> None:
    text = " ".join(["Straßenbahn"] * CAP)
    opened = await proxy(Say(text=text))
    stream = await events(await opened.chat(model="small", stream=True, max_tokens=CAP))
    assert stream.is_done and stream.text.strip() == text
    await nothing_is_left(opened)


async def test_bad_input_b58_a_stream_without_end_and_without_a_cap_of_its_own_is_cut_too(proxy: OpenProxy) -> None:
    opened = await proxy(_writes(5_000), defaults="{max_tokens: 10}")
    stream = await events(await opened.chat(model="small", stream=True))
    assert opened.upstream.calls[0].body["max_tokens"] == 10
    assert not stream.is_done and "error" in stream.data[-1]
