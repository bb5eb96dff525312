"""Answers with token probabilities are played to a proxy; what its records say is what arithmetic says."""

import asyncio
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
from muxer.testing import Say
from tests.proxy import open_proxy
from tests.test_cascade import MODELS, ORDER, all_agree


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
