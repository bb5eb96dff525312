"""`muxer eval` against the reference of the shared data, on every set: `ROUTING_DATA=DIR python -m bench.evaluation`.

The reference is DIR/routing_eval.py. It needs NumPy, which we do not: `--python` names a Python that has it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.routing_sets import PAIRS, read_set
from muxer.evaluation.curves import Ordered, measures
from muxer.evaluation.rows import Row

MOST = 1e-6
OURS = {"weak": "cheap", "usd1k_weak": "usd1k_cheap"}


def differences(data: Path, name: str, python: str) -> dict[str, float]:
    """The largest difference of each baseline of one set; fails where one side has a measure and the other has not."""
    strong, cheap = PAIRS[name]
    file, prices = data / f"{name}.jsonl.gz", data / "prices.json"
    words = ["--data", str(file), "--strong", strong, "--weak", cheap, "--prices", str(prices), "--boot", "1", "--json"]
    ran = subprocess.run([python, str(data / "routing_eval.py"), *words], capture_output=True, check=True, text=True)
    theirs = json.loads(ran.stdout.partition("\n")[2])
    rows, known = read_set(data, name)
    found = {}
    for baseline, scores in baselines(rows, [pair.strong - pair.cheap for pair in known]).items():
        ours = measures(Ordered(scores, known)) | {"n": len(rows)}
        value = {OURS.get(key, key): number for key, number in theirs[baseline]["value"].items()}
        assert set(value) == set(ours), set(value) ^ set(ours)
        found[baseline] = max(abs(ours[key] - value[key]) for key in value if value[key] == value[key])
    return found


def baselines(rows: list[Row], gains: list[float]) -> dict[str, list[float]]:
    return {"constant": [0.0] * len(rows), "length": [float(len(row.prompt)) for row in rows], "oracle": gains}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("ROUTING_DATA"), required="ROUTING_DATA" not in os.environ
    )
    parser.add_argument("--python", default="python3")
    arguments = parser.parse_args()
    worst = 0.0
    for name in PAIRS:
        found = differences(Path(arguments.data), name, arguments.python)
        worst = max(worst, *found.values())
        print(f"{name:24}" + "".join(f"{baseline:>12} {value:.1e}" for baseline, value in found.items()), flush=True)
    print(f"largest difference {worst:.1e}; at most {MOST:.0e} is allowed")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
