"""Trains the model that ships with the `difficulty` plugin: `ROUTING_DATA=DIR python -m scripts.make_prior`.

Only from sets under the Apache-2.0 and MIT licences, at most so many prompts of each.
"""

import argparse
import os
from pathlib import Path

import muxer_difficulty
from muxer_difficulty import SHIPPED
from muxer_difficulty.fit import fit

from bench.routing_sets import ALLOWED, BORROWED, MOST, mixed

SEED = 3
TARGET = Path(muxer_difficulty.__file__).parent / SHIPPED


def main() -> None:
    """Trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = os.environ.get("ROUTING_DATA")
    parser.add_argument("--data", type=Path, default=there, required=there is None)
    known = mixed(parser.parse_args().data, ALLOWED, set(), MOST, SEED)
    data = fit([], lambda done: None, known, BORROWED)
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
