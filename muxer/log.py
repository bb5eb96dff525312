"""The log: one JSON object a line on a stream, control characters escaped, no prompt and no secret (B72)."""

import json
import logging
import traceback
from collections.abc import Callable, Mapping
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


class Heard(logging.Handler):
    """What libraries log of level WARNING and above, as events of ours: who, where and the words of their template,
    since what is filled in may be a secret or a prompt."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        trace = frames(record.exc_info[1]) if record.exc_info and record.exc_info[1] else []
        self._log(level, "library", logger=record.name, message=str(record.msg), trace=trace)


def unheard(log: Callable[..., None], context: Mapping[str, object]) -> None:
    """Logs what the event loop says of an error that nobody waits for: what was raised and where, not its words."""
    error = context.get("exception")
    trace = frames(error) if isinstance(error, BaseException) else []
    log("error", "unforeseen", message=context.get("message", ""), trace=trace)


def frames(error: BaseException) -> list[str]:
    """What was raised and where, innermost first: files and lines without values, since values may be secrets."""
    places = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [type(error).__name__, *(f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in reversed(places))]
