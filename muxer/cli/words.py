"""Words of the command line as values; what is none is wrong usage."""

import argparse
import re

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def whole_number(words: str) -> int:
    """One from 1 on."""
    if not (words.isascii() and words.isdigit() and int(words) > 0):
        raise argparse.ArgumentTypeError(f"{words!r} is no number from 1")
    return int(words)


def duration(words: str) -> int:
    """The seconds of `30m`, `1h` or `7d`."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", words)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{words!r} is no duration: write a number and one of s, m, h, d, w, such as 30m, 1h or 7d"
        )
    return int(found[1]) * _SECONDS[found[2]]
