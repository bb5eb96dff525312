"""`muxer eval` against the reference of the shared data, on every set: `ROUTING_DATA=DIR python bench/evaluation.py`.

The reference is DIR/routing_eval.py. It needs NumPy, which we do not: `--python` names a Python that has it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from muxer.evaluation.curves import Ordered, measures
from muxer.evaluation.rows import Row, pairs, read_prices, read_rows

MOST = 1e-6
OURS = {"weak": "cheap", "usd1k_weak": "usd1k_cheap"}
PAIRS = {
    "routellm_mmlu": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routellm_gsm8k": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "mmlu_pro": ("gemini-1.5-pro-002", "gemini-1.5-flash-002"),
    "zeroeval_gsm": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "zeroeval_crux": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "zeroeval_mathl5": ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"),
    "ulab_mixed13": ("llama-3.1-nemotron-51b-instruct", "mistral-7b-instruct-v0.3"),
    "alpaca_eval": ("gpt-4-1106-preview", "gpt-3.5-turbo-1106"),
    "routerbench_arc": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routerbench_mbpp": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "routerbench_winogrande": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
}


def differences(data: Path, name: str, python: str) -> dict[str, float]:
    """The largest difference of each baseline of one set; fails where one side has a measure and the other has not."""
    strong, cheap = PAIRS[name]
    file, prices = data / f"{name}.jsonl.gz", data / "prices.json"
    words = ["--data", str(file), "--strong", strong, "--weak", cheap, "--prices", str(prices), "--boot", "1", "--json"]
    ran = subprocess.run([python, str(data / "routing_eval.py"), *words], capture_output=True, check=True, text=True)
    theirs = json.loads(ran.stdout.partition("\n")[2])
    rows = [row for row in read_rows([file]) if strong in row.models and cheap in row.models]
    known = pairs(rows, strong, cheap, read_prices(prices))
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
