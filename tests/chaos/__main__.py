"""Every fault of RELIABILITY 3 against real processes, and the table of what came of it; exit 1 when money disagrees, a
request is lost or hangs, or a proxy does not recover.

    .venv/bin/python -m tests.chaos [--short] [--only F7 F15] [--seconds 5] [--soak 600] [--rate 20]

`--short` plays one scene of most rows for less than four minutes in all.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
import traceback
from pathlib import Path

from muxer.background import beside
from tests.chaos.scenes import SCENES, Scene
from tests.chaos.stage import START_S, Stage
from tests.chaos.verdict import HEADINGS, Verdict, accounted, waited


async def _sampled(stage: Stage, verdict: Verdict) -> None:
    """Keeps the most that the proxies had in memory."""
    while True:
        first, most = verdict.memory_mb
        verdict.memory_mb = first, max(most, stage.memory_kb() / 1_024)
        await asyncio.sleep(0.2)


async def _play(stage: Stage, scene: Scene, verdict: Verdict, arguments: argparse.Namespace) -> None:
    load, rate = stage.load, arguments.rate
    for name in scene.starts:
        await stage.start(name, scene.files)
    await load.run(0.5, rate)  # the first requests find no connection yet
    since = len(load.seen)
    await load.run(arguments.seconds / 2, rate)
    before = load.seen[since:]
    verdict.memory_mb = (stage.memory_kb() / 1_024,) * 2
    async with beside(_sampled(stage, verdict)):
        logged, began = stage.logged(), time.monotonic()
        lasts_s = arguments.soak if scene.row == "F24" else max(arguments.seconds, scene.least_s)
        during = asyncio.create_task(load.run(lasts_s, rate))
        async with scene.fault(stage):
            await during
        mended = time.monotonic()
        verdict.recovery_s = await load.first_success(mended, START_S)
        logged = stage.logged() - logged
        again = time.monotonic()
        await load.run(arguments.seconds / 2, rate)
        await load.answered()
    in_fault = [one for one in load.seen if began <= one.begun < mended]
    after = [one for one in load.seen if one.begun >= again]
    verdict.log_bytes = logged / max(1, len(in_fault))
    verdict.waits = waited(before), waited(in_fault), waited(after)


async def _scene(scene: Scene, folder: Path, arguments: argparse.Namespace) -> Verdict:
    verdict = Verdict(row=scene.row, what=scene.what)
    stage = Stage(scene.kind, folder, scene.settings)
    try:
        async with stage.opened(), asyncio.timeout(arguments.soak + 300):
            try:
                await _play(stage, scene, verdict, arguments)
            finally:
                await stage.end_all()
            await accounted(stage, verdict)
    except Exception as error:  # noqa: BLE001  # the other scenes are still to be seen
        traceback.print_exc()
        verdict.wrong = (*verdict.wrong, f"{type(error).__name__}: {error}")
    return verdict


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Plays what is asked for."""
    parser = argparse.ArgumentParser(description="Faults against real processes.")
    parser.add_argument("--short", action="store_true", help="one scene of most rows, for a shorter time")
    parser.add_argument("--only", nargs="*", default=[], help="rows, such as F7")
    parser.add_argument("--seconds", type=float, help="how long a fault lasts")
    parser.add_argument("--soak", type=float, help="how long F24 lasts")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    arguments = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the upstream's, of callers that are cut off
    arguments.seconds = arguments.seconds or (2.0 if arguments.short else 5.0)
    arguments.soak = arguments.soak or (5.0 if arguments.short else 60.0)
    print(_line(HEADINGS), _line(("---",) * len(HEADINGS)), sep="\n", flush=True)
    is_well = True
    with tempfile.TemporaryDirectory() as temporary:
        for number, scene in enumerate(SCENES):
            if scene.row in arguments.only or (not arguments.only and (scene.is_short or not arguments.short)):
                verdict = asyncio.run(_scene(scene, Path(temporary) / str(number), arguments))
                is_well = is_well and not verdict.wrong
                print(_line(verdict.cells()), flush=True)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
