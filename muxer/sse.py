"""Server-sent events, read as the standard says: any line ending, comments, several data lines, a byte order mark."""

from collections.abc import AsyncGenerator, AsyncIterator

from msgspec import Struct

from muxer.failures import UpstreamBadResponse

MAX_EVENT_BYTES = 1_048_576
_BOM = b"\xef\xbb\xbf"


class Event(Struct, frozen=True):
    """One event: its data, lines joined by LF, and its name (empty when the stream gave none)."""

    data: bytes
    name: str = ""


class EventParser:
    """Turns pieces of a stream, cut anywhere, into events."""

    def __init__(self) -> None:
        self._rest = bytearray()  # a long line may come in many pieces
        self._data: list[bytes] = []
        self._name = ""
        self._size = 0
        self._after_cr = False
        self._at_start = True
        self._is_between = False  # an event begins with the next piece

    def feed(self, piece: bytes) -> list[Event]:
        """Takes the next bytes and returns the events they complete. Raises UpstreamBadResponse over 1 MB an event."""
        if self._is_between and piece.find(b"\n") == len(piece) - 2 and _is_plain(piece):
            return [Event(piece[6:-2])]
        lines = self._lines(piece)
        events = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise UpstreamBadResponse(f"an event of the stream is longer than {MAX_EVENT_BYTES} bytes")
        self._is_between = not (self._rest or self._data or self._name or self._after_cr or self._at_start)
        return events

    def _lines(self, piece: bytes) -> list[bytes]:
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        self._rest += piece
        if self._at_start:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return []
            self._at_start = False
            self._rest = self._rest.removeprefix(_BOM)
        if b"\n" not in piece and b"\r" not in piece:
            return []
        lines = bytes(self._rest).splitlines()
        self._rest = bytearray() if piece.endswith((b"\n", b"\r")) else bytearray(lines.pop())
        return lines

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> Event | None:
        event = Event(b"\n".join(self._data), self._name) if self._data else None
        self._data, self._name, self._size = [], "", 0
        return event


def _is_plain(piece: bytes) -> bool:
    """Whether it is an event of one line of data, which most pieces of most streams are."""
    return (
        piece.startswith(b"data: ") and piece.endswith(b"\n\n") and b"\r" not in piece and len(piece) < MAX_EVENT_BYTES
    )


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """The events of a response body. An event that the stream's end cuts off is dropped, as the standard says."""
    parser = EventParser()
    async for piece in chunks:
        for event in parser.feed(piece):
            yield event


def write_event(data: bytes, name: str = "") -> bytes:
    """One event as bytes; data of several lines becomes several data lines."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
