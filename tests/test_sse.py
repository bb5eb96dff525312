"""Server-sent events as the standard reads them, wherever the network cuts the bytes."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.failures import UpstreamBadResponse
from muxer.sse import MAX_EVENT_BYTES, Event, EventParser, read_events, write_event

lines = st.one_of(
    st.sampled_from([b"", b"", b"data: a", b"data:b", b"data", b"data:  c", b": comment", b"event: ping", b"id: 7"]),
    st.binary(max_size=6).map(lambda bytes_: bytes_.replace(b"\r", b"").replace(b"\n", b"")),
    st.text(max_size=4).map(lambda text: b"data: " + text.encode().replace(b"\r", b"").replace(b"\n", b"")),
)
endings = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream of lines with endings of every kind, maybe behind a byte order mark."""
    written = draw(st.lists(st.tuples(lines, endings), max_size=12))
    text = b"".join(line + ending for line, ending in written)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text


def parsed(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def by_the_standard(stream: bytes) -> list[Event]:
    """The algorithm of the HTML standard, on the whole text at once."""
    found, data, name = [], list[bytes](), ""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in text.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            found += [Event(b"\n".join(data), name)] if data else []
            data, name = [], ""
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return found


@given(streams())
def test_a_whole_stream_is_read_as_the_standard_says(stream: bytes) -> None:
    assert parsed(stream) == by_the_standard(stream)


@given(streams(), st.data())
def test_any_split_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*pieces) == parsed(stream)


@given(streams())
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    assert parsed(*(stream[i : i + 1] for i in range(len(stream)))) == parsed(stream)


PIECES = [
    b"data: a\n\n",
    b"data: \n\n",
    b"data: a\r\n\n",
    b"data: a\n",
    b"\n",
    b"\r",
    b"event: x\n",
    b"data: a",
    b": \n\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6))
def test_whole_events_in_a_piece_are_read_as_any_other(pieces: list[bytes]) -> None:
    assert parsed(*pieces, b"\n") == by_the_standard(b"".join([*pieces, b"\n"]))


@given(st.text(), st.sampled_from(["", "ping"]))
def test_what_is_written_can_be_read(text: str, name: str) -> None:
    data = text.encode().replace(b"\r", b"")
    assert parsed(write_event(data, name)) == [Event(data, name)]


def test_a_line_feed_after_a_cut_carriage_return_belongs_to_it() -> None:
    assert parsed(b"data: a\r", b"\n", b"\n") == [Event(b"a")]
    assert parsed(b"data: a\r", b"\n\r", b"\ndata: b\n\n") == [Event(b"a"), Event(b"b")]


def test_several_data_lines_are_one_event() -> None:
    assert parsed(b"event: x\ndata: a\ndata:\ndata: b\n\n") == [Event(b"a\n\nb", "x")]


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    mark = b"\xef\xbb\xbf"
    assert parsed(mark[:1], mark[1:2], mark[2:] + b"data: a\n\n", mark + b"data: b\n\n") == [Event(b"a")]


def test_other_line_separators_of_unicode_are_text() -> None:
    text = "a\u2028b\u0085c\x0bd\x0ce".encode()
    assert parsed(b"data: " + text + b"\n\n") == [Event(text)]


@pytest.mark.parametrize("piece", [b"x" * 1_000, b"data: " + b"x" * 1_000 + b"\n", b"\r\ndata:" + b"x" * 1_000])
def test_an_endless_event_is_an_error_before_it_fills_the_memory(piece: bytes) -> None:
    parser = EventParser()
    with pytest.raises(UpstreamBadResponse, match="longer than"):
        for _ in range(2 * MAX_EVENT_BYTES // len(piece)):
            parser.feed(piece if piece.startswith(b"data") else piece.replace(b"\r\n", b""))


def test_an_event_just_within_the_limit_is_read() -> None:
    data = b"x" * (MAX_EVENT_BYTES - len(b"data: "))
    assert parsed(b"data: " + data, b"\n", b"\n") == [Event(data)]


async def test_an_event_that_the_end_cuts_off_is_dropped() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: a\n\ndata: b\n"

    assert [event async for event in read_events(pieces())] == [Event(b"a")]
