"""Answers with token probabilities are played to a proxy; what its records say is what arithmetic says."""

import asyncio
import itertools
import math
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from muxer.edge import PATIENCE
from muxer.prices import PriceTable
from muxer.testing import Behaviour, BillAndFail, Cut, Fail, Raw, Say
from tests.proxy import OpenProxy, open_proxy
from tests.test_cascade import MODELS, ORDER, all_agree, opened


class Play(Struct, frozen=True):
    """What both models make of one question, and how good that is."""

    probabilities: tuple[float, ...]
    quality: float
    larges_quality: float

    @property
    def sure(self) -> float:
        """By the rule of docs/cascade.md, worked out another way than the product does."""
        if len(self.probabilities) <= 4:
            return self.probabilities[0]
        return math.prod(self.probabilities) ** (1 / len(self.probabilities))

    def nanos(self, threshold: float) -> int:
        """The bill for a question of 12 bytes, at the prices above."""
        asked = 12 // 4 + 3
        small = asked * 1_000 + len(self.probabilities) * 2_000
        return small + (asked * 10_000 + 2 * 20_000 if self.sure < threshold else 0)


@given(
    plays=st.lists(
        st.builds(
            Play,
            st.lists(st.floats(0.01, 1), min_size=1, max_size=9).map(tuple),
            st.sampled_from([0.0, 1.0]),
            st.sampled_from([0.5, 1.0]),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dollars_and_quality_equal_the_offline_computation(
    tmp_path: Path, table: PriceTable, plays: list[Play]
) -> None:
    sections = {"models": MODELS, "routes": f"[{{name: default, {ORDER}}}]", "limits": "[{per: user, daily_usd: 9}]"}

    async def run() -> None:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        async with open_proxy(folder, table, time.time, PATIENCE, sections) as served:
            found = []
            for play in plays:
                words = " ".join(["word"] * len(play.probabilities))
                served.upstream.script("small-1", Say(text=words, probabilities=play.probabilities))
                served.upstream.default = Say(text="yes indeed")
                response = await served.post({"messages": [{"role": "user", "content": "twelve bytes"}]})
                found.append(await served.record(response))
            quality = [
                play.quality if record.model == "small" else play.larges_quality
                for play, record in zip(plays, found, strict=True)
            ]
            assert quality == [play.quality if play.sure >= 0.8 else play.larges_quality for play in plays]
            assert sum(record.cost_nanos for record in found) == sum(play.nanos(0.8) for play in plays)
            assert [record.confidence for record in found] == pytest.approx([play.sure for play in plays])
            await all_agree(served)

    asyncio.run(run())


FIRST: tuple[Behaviour, ...] = (
    Say(text="one two three four five", probabilities=(0.95,) * 5),
    Say(text="one two three four five", probabilities=(0.2,) * 5),
    Say(text="one two three four five", probabilities=(0.2,) * 5, reports_usage=False),
    Say(text=""),
    Fail(500),
    Fail(429),
    BillAndFail(500),
    Cut(after_bytes=400, then=Say(text="one two three four five", probabilities=(0.2,) * 5)),
    Raw(pieces=(b"nonsense",)),
)
NEXT: tuple[Behaviour, ...] = (
    Say(text="yes"),
    Say(text="yes", reports_usage=False),
    Fail(500),
    Fail(400),
    Cut(after_bytes=1),
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [100, 0.01])
async def test_whatever_the_legs_do_the_oracle_s_bill_is_covered_and_nothing_stays_held(
    proxy: OpenProxy, stream: bool, limit: float
) -> None:
    served = await opened(proxy, limits=f"[{{per: user, daily_usd: {limit}}}]")
    for first, following in itertools.product(FIRST, NEXT):
        served.upstream.default = following
        served.upstream.script("small-1", first)
        response = await served.chat(stream=stream, max_tokens=8)
        await response.read()
        served.assembly.parts.dispatcher.breakers.keep(())  # each pair begins with well models
    await served.log.wait_for("request", len(FIRST) * len(NEXT))
    accounts = await served.accounts()
    assert accounts.held == 0
    assert accounts.spent == accounts.recorded
    # What was billed and then failed in a way that vendors do not bill is the one thing nobody can know (S8).
    unknowable = sum(1 for one in served.upstream.calls if one.status == 500 and one.billed is not None)
    assert accounts.bill <= accounts.spent + accounts.presumed + unknowable * 100_000
    async for record in served.store.records(0, {}, 100):
        assert record.cost_nanos == sum(one.cost_nanos for one in record.attempts)
        assert record.state in ("done", "failed")
        assert record.confidence is None or record.attempts
