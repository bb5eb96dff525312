"""Fixtures of the request path; what they open is in `tests/proxy.py`."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from muxer.edge import PATIENCE, Patience
from muxer.prices import PriceTable, load_prices
from muxer.testing import Behaviour
from tests.installed import Installation, build
from tests.processes import House, open_house
from tests.proxy import OpenProxy, Proxy, open_proxy

# A machine that is busy with other things makes no test fail.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def table() -> PriceTable:
    return load_prices()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Path(__file__).parent.parent, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("empty"), wheel)


@pytest.fixture
async def proxy(tmp_path: Path, table: PriceTable) -> AsyncIterator[OpenProxy]:
    async with AsyncExitStack() as stack:

        async def open(
            *behaviours: Behaviour,
            clock: Callable[[], float] = time.time,
            patience: Patience = PATIENCE,
            **sections: str,
        ) -> Proxy:
            opened = await stack.enter_async_context(open_proxy(tmp_path, table, clock, patience, sections))
            opened.upstream.script(None, *behaviours)
            return opened

        yield open


@pytest.fixture(params=["sqlite", "redis"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A store that proxy processes share, of each kind that outlives them."""
    async with open_house(request.param, tmp_path) as opened:
        yield opened
