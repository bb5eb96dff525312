"""Whether `muxer replay` tells the truth: what it predicts for a change against what the change then costs.

    .venv/bin/python -m bench.replay_proof labelled_prompts.jsonl.gz

Every prompt goes through the proxy under the file that ships and under a changed one, each with offline providers and a
store of its own; half of the prompts, by a hash, are held back. Predicted is the changed file over the records of
the first run, actual what the second recorded; for the part held back, the change seen on the other part.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.replay import CHANGED, SHIPPED
from muxer import Muxer

AT_ONCE = 16


async def play(config: Path, prompts: list[str]) -> None:
    """Asks every prompt under that file; the records are in the store beside it."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with Muxer(
        config, demo=True, environ={"DEFAULT_DAILY_BUDGET": "1000000", "DEFAULT_MONTHLY_BUDGET": "1000000"}
    ) as mux:

        async def ask(prompt: str) -> None:
            async with gate:
                await mux.acompletion(messages=[{"role": "user", "content": prompt}])

        await asyncio.gather(*map(ask, prompts))


def replayed(new: Path, log: Path) -> dict[str, Any]:
    """What `muxer replay` prints."""
    command = [sys.executable, "-m", "muxer", "replay", str(new), "--log", str(log), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def is_held_back(prompt: str) -> bool:
    """Half of them, the same each time."""
    return hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] % 2 == 1


def main() -> None:
    """Plays, replays, and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="JSON lines, gzipped, each with a prompt")
    arguments = parser.parse_args()
    with gzip.open(arguments.data, "rt") as rows:
        prompts = [json.loads(row)["prompt"] for row in rows]
    changed = SHIPPED.read_text()
    for one, other in CHANGED:
        changed = changed.replace(one, other)
    costs: dict[tuple[str, str], Decimal] = {}
    predicted: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for part, wanted in (("seen", False), ("held back", True)):
            chosen = [prompt for prompt in prompts if is_held_back(prompt) == wanted]
            for name, text in (("old", SHIPPED.read_text()), ("new", changed)):
                folder = Path(temporary) / part / name
                folder.mkdir(parents=True)
                (folder / "routing.yaml").write_text(text)
                asyncio.run(play(folder / "routing.yaml", chosen))
                itself = replayed(folder / "routing.yaml", folder / "muxer.db")
                assert (itself["moved"], itself["before_usd"]) == (0, itself["after_usd"]), itself
                costs[part, name] = Decimal(itself["before_usd"])
            new = folder / "routing.yaml"
            predicted[part] = replayed(new, new.parent.parent / "old" / "muxer.db")
    _print(costs, predicted)


def _print(costs: dict[tuple[str, str], Decimal], predicted: dict[str, dict[str, Any]]) -> None:
    for part, found in predicted.items():
        told, actual, before = Decimal(found["after_usd"]), costs[part, "new"], costs[part, "old"]
        print(f"{part}: {found['requests']} requests, {found['moved']} would move, ${before} before")
        print(f"  predicted from its own records ${told}, actual ${actual}: off by {(told / actual - 1) * 100:+.2f} %")
    before, after = costs["held back", "old"], costs["held back", "new"]
    share = Decimal(predicted["seen"]["after_usd"]) / costs["seen", "old"]
    print(f"held back, by the change on the other part ({(share - 1) * 100:+.2f} %): predicted ${before * share:.6f},")
    print(
        f"  actual ${after} ({(after / before - 1) * 100:+.2f} %): off by {(before * share / after - 1) * 100:+.2f} %"
    )


if __name__ == "__main__":
    main()
