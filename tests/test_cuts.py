"""A stream cut by its client, and by its upstream, at every byte (T7): never for nothing, never twice."""

import pytest

from muxer.testing import Cut, Say, Stall
from tests.proxy import OpenProxy

SAY = Say(text="one two three")
PIECES, SIZE = 6, 1_100  # of the upstream's stream; a cut past its end is none


@pytest.mark.parametrize("pieces", range(PIECES))
async def test_a_client_that_cuts_a_stream_at_any_byte_pays_exactly(proxy: OpenProxy, pieces: int) -> None:
    opened = await proxy(limits="[{per: user, daily_usd: 100}]")
    for count, size in enumerate((1, 2, 100, 180, 181, 10_000), 1):
        opened.upstream.gate.clear()
        opened.upstream.script(None, Stall(after_pieces=pieces or None, then=SAY))
        if pieces == 0:
            opened.upstream.gate.set()
        response = await opened.chat(model="small", stream=True)
        await response.content.read(size)
        response.close()
        opened.upstream.gate.set()
        await opened.log.wait_for("request", count)
        record, accounts = await opened.last_record(), await opened.accounts()
        assert [attempt.outcome for attempt in record.attempts] == ["exact"]
        assert accounts.bill == accounts.spent == accounts.recorded > 0
        assert (accounts.held, accounts.presumed, len(opened.upstream.calls)) == (0, 0, count)


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.slow)], ids=["some bytes", "every byte"])
@pytest.mark.parametrize("holds", ["bound", "expected"])
async def test_an_upstream_that_cuts_a_stream_at_any_byte_is_counted_once(
    proxy: OpenProxy, holds: str, step: int
) -> None:
    opened = await proxy(limits=f"[{{per: user, daily_usd: 100, hold: {holds}}}]")
    seen, billed = set(), 0
    for count, after in enumerate((*range(0, SIZE, step), 10_000), 1):
        # Five cuts, in a row or among ten, would set the model aside for a while; so two whole answers follow each.
        opened.upstream.script(None, Cut(after_bytes=after, then=SAY), SAY, SAY)
        await (await opened.chat(model="small", stream=True, max_tokens=50)).read()
        record = await opened.last_record()
        for _ in range(2):
            await (await opened.chat(model="small", max_tokens=50)).read()
        accounts = await opened.accounts()
        charged, billed = record.cost_nanos + record.presumed_nanos, accounts.bill
        assert len(record.attempts) == 1 and len(opened.upstream.calls) == 3 * count
        assert 0 < charged <= record.bound_tokens * 2_000
        assert (accounts.held, accounts.spent) == (0, accounts.recorded)
        assert holds == "expected" or billed <= accounts.spent + accounts.presumed
        seen.add(record.attempts[0].outcome)
    # Cut before an answer began, nobody knows what was billed, whatever kind of hold it was (S8).
    assert seen == {"exact", "presumed"} | (set() if holds == "bound" else {"counted"})
