"""Feeds a target with what reaches more and more of its code: `make check-atheris`.

    python -m tests.fuzz.guided FOLDER SECONDS TARGET

What was learned is kept in FOLDER, and so is an input that fails.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # it is in the environment of check-atheris alone

with atheris.instrument_imports(include=["muxer"]):
    from tests.fuzz.targets import TARGETS


def main(folder: str, seconds: str, name: str) -> None:
    """Feeds one target; the process ends with it, and with another code than 0 at the first failure."""
    target, seeds = TARGETS[name]
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = ("-timeout=10", "-rss_limit_mb=1024", "-verbosity=0", "-print_final_stats=1")
    atheris.Setup(
        [name, *limits, f"-max_total_time={seconds}", f"-artifact_prefix={folder}/{name}-", str(corpus)], target
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
