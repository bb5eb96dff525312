"""What processes left that died on the embedded store's file (RELIABILITY S10)."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from muxer import ConfigInvalid
from muxer.testing.contracts.money import counted
from tests.plugins.test_muxer_sqlite_faults import CLAIM, PATIENCE_S, another_process, hold, opened, run

DYING = """
import asyncio, os, sys
from pathlib import Path
from tests.plugins.test_muxer_sqlite_faults import hold, opened
async def main():
    async with opened(Path(sys.argv[1])) as store:
        await hold(store, "of-the-dead", 60)
        print('""', flush=True)
        os._exit(0)
asyncio.run(main())
"""


async def test_a_start_that_cannot_write_forgets_none_of_the_dead(tmp_path: Path) -> None:
    await run(DYING, str(tmp_path))
    async with another_process(tmp_path, "BEGIN IMMEDIATE"):
        with pytest.raises(ConfigInvalid, match="another process keeps it locked"):
            await AsyncExitStack().enter_async_context(opened(tmp_path))
    async with opened(tmp_path) as store:
        assert await counted(store, CLAIM) == (0, 0, 60)
        assert len(list((tmp_path / "muxer.db.owners").iterdir())) == 1


async def test_who_dies_while_others_run_is_buried_by_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await run(DYING, str(tmp_path))
        async with asyncio.timeout(PATIENCE_S):
            while await counted(store, CLAIM) != (0, 0, 60):
                await asyncio.sleep(0.01)


async def test_a_link_to_the_file_leads_to_its_locks(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hold(store, "a")
        (tmp_path / "link.db").symlink_to("muxer.db")
        async with opened(tmp_path, path="link.db") as other:
            assert await counted(other, CLAIM) == (0, 10, 0)


async def test_whoever_left_no_lock_is_dead(tmp_path: Path) -> None:
    await run(DYING, str(tmp_path))
    shutil.rmtree(tmp_path / "muxer.db.owners")
    async with opened(tmp_path) as store:
        assert await counted(store, CLAIM) == (0, 0, 60)
