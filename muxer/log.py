"""The log: one JSON object a line on a stream, control characters escaped, no prompt and no secret (B72)."""

import json
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

_FRAMES = 5
_LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}


class JSONLog:
    """Writes events of at least `level` to a binary stream."""

    def __init__(self, stream: IO[bytes], clock: Callable[[], float], level: str = "info") -> None:
        self._stream = stream
        self._clock = clock
        self._least = _LEVELS[level]
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def __call__(self, level: str, event: str, **fields: object) -> None:
        """See Log."""
        if _LEVELS[level] < self._least:
            return
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = self._line({"at": at.replace("+00:00", "Z"), "level": level, "event": event, **fields})
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more; requests go on

    def _line(self, entry: dict[str, object]) -> bytes:
        try:
            line = self._encode(entry)
        except UnicodeEncodeError:  # half of a surrogate pair
            line = b"\xff"
        if not line.isascii():
            # In ASCII nothing is left that a terminal or a reader takes for an order or a line's end (U+009B, U+2028).
            line = json.dumps(entry, default=str).encode()
        return line.replace(b"\x7f", b"\\u007f")  # JSON lets DEL stand as it is


def frames(error: BaseException) -> list[str]:
    """What was raised and where, innermost first: files and lines without values, since values may be secrets."""
    places = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [type(error).__name__, *(f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in reversed(places))]
