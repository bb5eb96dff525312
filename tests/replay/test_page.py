"""The page of a replay: well-formed, complete, and unable to run or fetch anything."""

import re
from html.parser import HTMLParser

import pytest

from muxer.replay.charts import Point, Stream, bars, lines, streams
from muxer.replay.markup import Markup, joined, tag
from muxer.replay.page import page
from muxer.replay.tally import Tally
from tests.replay.values import a_request_of, a_route, a_story, replayed, some_rules

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\ud800"
VOID = {"meta"}


class Read(HTMLParser):
    """The elements of a page; fails where one is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


async def a_tally() -> Tally:
    records = [a_request_of(n, route=f"r{n % 3}", at=1_790_035_200.0 + 9_000 * n) for n in range(100)]
    before = some_rules(a_route("night", "cheap", when="code > 1"), a_route(EVIL, "dear"))
    return await replayed(records, before, some_rules(a_route("r", "cheap")))


async def test_every_chart_has_its_table() -> None:
    read = Read(page(a_story(await a_tally()), ["it costs 7 % more"]))
    assert (read.names.count("svg"), read.names.count("table")) == (3, 4)
    assert "it costs 7 % more" in read.words
    assert {"100", "0.001200", "-90.0 %"} <= set(read.words)


async def test_names_of_the_file_stay_words() -> None:
    text = page(a_story(await a_tally(), new=EVIL, log=EVIL), [EVIL])
    read = Read(text)
    assert "script" not in read.names
    assert not any(name.startswith("on") for name, _ in read.attributes)
    text.encode()
    assert "\x1b" not in text
    assert any("<script>alert(1)</script>\"'&" in words for words in read.words)


async def test_nothing_is_fetched() -> None:
    text = page(a_story(await a_tally()), [])
    assert not re.search(r"https?:|url\(|@import|<link|<img|src=", text)


async def test_a_page_without_requests_is_one_too() -> None:
    assert Read(page(a_story(Tally()), [])).names.count("svg") == 0


async def test_a_part_of_the_requests_says_so() -> None:
    story = a_story(await a_tally(), is_sample=True, has_limits=False, of=5_000)
    words = " ".join(Read(page(story, [])).words)
    assert "a sample of 5,000" in words
    assert "not simulated" in words


@pytest.mark.parametrize("count", [1, 2, 40])
def test_charts_take_any_number_of_points(count: int) -> None:
    points = [Point(f"p{at}", float(at), 0.0) for at in range(count)]
    for chart in (lines(points, str, "words"), bars(points, str, "words")):
        assert "nan" not in chart
        assert Read(chart).names.count("text") >= count // 7


def test_a_band_is_as_thick_as_its_share() -> None:
    found = Read(streams([Stream("a", "b", 3, "stays", "w"), Stream("a", "c", 1, "cheaper", "w")], "words"))
    shapes = [value for name, value in found.attributes if name == "d"]
    thick = [float(re.findall(r"v([0-9.]+)", shape or "")[0]) for shape in shapes]
    assert thick[0] == pytest.approx(3 * thick[1], rel=0.01)
    assert "a 100%" in found.words


def test_what_is_no_markup_is_escaped() -> None:
    assert joined("<", Markup("<b>")) == "&lt;<b>"
    assert tag("p", "&", class_='"', data_x="<") == '<p class="&quot;" data-x="&lt;">&amp;</p>'
