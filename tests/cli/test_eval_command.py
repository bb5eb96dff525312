import gzip
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]
PAIR = ("--strong", "big", "--cheap", "small")
POLICY = """\
version: 1
plugins: [heuristics, demo, memory]
store: {kind: memory}
providers:
  p: {kind: demo}
models:
  large: {provider: p, name: big, price: free}
  small: {provider: p, name: tiny, price: free}
routes:
  - {name: code, when: "code >= 0.2", use: [large]}
  - {name: default, use: [small]}
"""


def row(prompt: str, strong: float, cheap: float) -> dict[str, object]:
    models = {"big": {"s": strong, "in": 1000, "out": 100}, "small": {"s": cheap, "cost": 0.001}}
    return {"id": prompt[:8], "prompt": prompt, "models": models, "more": [1]}


ROWS = [
    row("Write a Python function to sort a list", 1, 0),
    row("What is the capital of France?", 1, 1),
    row("Write a SQL query that counts orders", 1, 0),
    row("Hello", 0, 0),
    {"prompt": "only one model", "models": {"big": {"s": 1}}},
]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(one).encode() for one in ROWS)))
    (tmp_path / "prices.json").write_text('{"_note": "x", "big": {"in": 5, "out": 50, "src": "list"}}')
    (tmp_path / "policy.yaml").write_text(POLICY)
    return path.name


def test_a_signal_is_measured_against_chance_and_the_oracle(data: str, muxer: Run) -> None:
    ran = muxer("eval", data, *PAIR, "--signal", "code", "--prices", "prices.json", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["prompts"] == 4
    assert (found["strong"]["usd"], found["cheap"]["usd"]) == pytest.approx((0.01, 0.001))
    ranked = found["ranked"]
    assert ranked["random"]["value"]["apgr"] == pytest.approx(0.5)
    # Both prompts of code need the strong model, so that half of the calls recover all: 0, .2, .4, .6, .8, 1, ... 1.
    assert ranked["code"]["value"]["apgr"] == ranked["oracle"]["value"]["apgr"] == pytest.approx(0.75)
    assert ranked["code"]["value"]["save@eq"] == pytest.approx(1 - (0.001 + 0.009 / 2) / 0.01)
    low, high = ranked["code"]["ci95"]["cpt50"]
    assert low <= ranked["code"]["value"]["cpt50"] <= high


def test_a_policy_is_decided_as_live_requests_are(data: str, muxer: Run) -> None:
    ran = muxer("eval", data, *PAIR, "--policy", "policy.yaml", "--prices", "prices.json", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["policy"] == {"quality": 0.75, "usd": pytest.approx(0.0055), "models": {"big": 2, "small": 2}}
    assert found["ranked"]["policy"]["value"]["pgr@50"] == pytest.approx(1)


CASCADE = ("--policy", "cascade.yaml", "--prices", "prices.json")


@pytest.fixture
def sure(data: str, tmp_path: Path) -> str:
    lines = []
    for one, sure in zip(ROWS, (0.3, 0.9, 0.8, 0.5), strict=False):
        lines.append(json.dumps(one).replace('"cost": 0.001', f'"cost": 0.001, "confidence": {sure}'))
    (tmp_path / "sure.jsonl").write_text("\n".join(lines))
    write_cascade(tmp_path, "confidence: 0.8")
    return "sure.jsonl"


def write_cascade(folder: Path, threshold: str) -> None:
    order = f"{{name: default, use: [small, large], order: cascade, {threshold}}}"
    (folder / "cascade.yaml").write_text(POLICY[: POLICY.index("  - {name: code")] + f"  - {order}\n")


def test_a_cascade_asks_on_where_the_first_was_not_sure(sure: str, muxer: Run) -> None:
    found = json.loads(muxer("eval", sure, *PAIR, *CASCADE, "--json").out)
    # Of four two are asked twice: 0.001 for each, and 0.01 for those.
    assert found["policy"] == {"quality": 0.5, "usd": pytest.approx(0.006), "models": {"big": 2, "small": 2}}
    assert "policy" not in found["ranked"] and found["thresholds"] is None


def test_the_threshold_that_keeps_the_quality_can_be_taken_into_the_file(sure: str, muxer: Run, tmp_path: Path) -> None:
    found = json.loads(muxer("eval", sure, *PAIR, *CASCADE, "--cascade", "--json").out)
    # Three of four are asked twice, as both that need it are among them: 0.001 for each, and 0.01 for those.
    whole, nearly = found["thresholds"]
    assert whole == {"keeps": 1.0, "confidence": 0.81, "asked_again": 3, "quality": 0.75, "usd": pytest.approx(0.0085)}
    assert nearly == whole | {"keeps": 0.99}
    assert found["ranked"]["cascade"]["value"]["apgr"] == pytest.approx(0.62)
    assert found["ranked"]["cascade"]["value"]["save@99q"] == pytest.approx(0.15)
    low, high = found["ranked"]["cascade"]["ci95"]["save@99q"]
    assert low < 0.15 < high
    write_cascade(tmp_path, "confidence: 0.81")
    pasted = json.loads(muxer("eval", sure, *PAIR, *CASCADE, "--json").out)["policy"]
    assert pasted == {"quality": 0.75, "usd": pytest.approx(0.0085), "models": {"big": 3, "small": 1}}


def test_a_person_is_told_the_threshold_and_how_to_get_it(sure: str, muxer: Run, tmp_path: Path) -> None:
    words = (*PAIR, *CASCADE, "--bootstrap", "0")
    assert "--cascade tries every threshold beside that of the policy." in muxer("eval", sure, *words).err
    ran = muxer("eval", sure, *words, "--cascade", "--plot", "c.svg")
    assert "--cascade" not in ran.err
    told = [" ".join(line) for line in ran.lines if "confidence:" in line]
    assert told[1] == "99 % with confidence: 0.81 0.7500 8.5000 15.0 % big 3, small 1"
    words_drawn = {text.text for text in ElementTree.parse(tmp_path / "c.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {"cascade", "random", "oracle", "policy"} <= words_drawn


@pytest.mark.parametrize("words", [("--cascade",), CASCADE])
def test_a_row_that_does_not_say_how_sure_is_named(words: tuple[str, ...], sure: str, muxer: Run, data: str) -> None:
    ran = muxer("eval", data, *PAIR, *words)
    assert ran.code == 2
    assert "prompt Write a : a cascade asks 'small' and goes by how sure it was of its answer, which" in ran.err
    assert "give `confidence` beside `s`" in ran.err


def test_people_get_tables(data: str, muxer: Run) -> None:
    words = ("--policy", "policy.yaml", "--signal", "code", "--prices", "prices.json", "--bootstrap", "5")
    ran = muxer("eval", data, *PAIR, *words)
    assert ran.code == 0, ran.err
    assert [line[:4] for line in ran.lines[1:4]] == [
        ["always", "strong", "0.7500", "10.0000"],
        ["always", "cheap", "0.2500", "1.0000"],
        ["policy", "0.7500", "5.5000", "45.0"],
    ]
    assert [line[0] for line in ran.lines[6:] if line] == ["random", "code", "policy", "oracle"]


def test_without_prices_there_are_no_dollars(data: str, muxer: Run) -> None:
    ran = muxer("eval", data, *PAIR, "--signal", "code", "--bootstrap", "0")
    assert ran.code == 0, ran.err
    assert "$ saved" not in ran.out


def test_scores_are_written_and_the_curves_drawn(data: str, muxer: Run, tmp_path: Path) -> None:
    words = ("--signal", "code", "--policy", "policy.yaml", "--bootstrap", "0")
    assert muxer("eval", data, *PAIR, *words, "--scores", "s.jsonl", "--plot", "c.svg").code == 0
    scores = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [score["id"] for score in scores] == ["Write a ", "What is ", "Write a ", "Hello"]
    assert scores[0]["score"] > scores[1]["score"] == 0
    svg = ElementTree.fromstring((tmp_path / "c.svg").read_text())
    words_drawn = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"code", "random", "oracle", "policy", "quality"} <= words_drawn


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--signal", "cod"), "no signal 'cod'; there are: code, complexity"),
        (("--signal", "difficulty", "--policy", "policy.yaml"), "simple; --plugin names where others come from"),
        (("--signal", "code", "--artefact", "x"), "it uses no artefact"),
        (("--signal", "difficulty", "--artefact", "gone.model"), "gone.model: No such file or directory"),
        (("--signal", "code", "--prices", "missing.json"), "missing.json: No such file"),
        (("--signal", "code", "--plot", "no/folder.svg"), "no/folder.svg: No such file"),
        (("--policy", "policy.yaml", "--map", "large=huge"), "--map large=NAME"),
    ],
)
def test_what_cannot_be_told_is_an_error(words: tuple[str, ...], told: str, data: str, muxer: Run) -> None:
    ran = muxer("eval", data, *PAIR, *words)
    assert ran.code == 2
    assert told in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--strong", "huge", "--cheap", "small"),
            "no row of the data has both 'huge' and 'small'; its models: big (5), small (4)",
        ),
        (("--strong", "big", "--cheap", "big"), "both 'big': name two models"),
        ((*PAIR, "--bootstrap", "-3"), "'-3' is no whole number"),
    ],
)
def test_a_wrong_pair_is_told_what_there_is(words: tuple[str, ...], told: str, data: str, muxer: Run) -> None:
    ran = muxer("eval", data, "--signal", "code", *words)
    assert ran.code == 2
    assert told in ran.err


def test_a_person_is_told_why_there_is_nothing_to_see(data: str, muxer: Run) -> None:
    told = muxer("eval", data, *PAIR, "--bootstrap", "0").err
    assert "No dollars: some answers have no cost. --prices" in told
    assert "nothing was judged: name a --signal, a --policy or a --cascade" in told
    turned = muxer("eval", data, "--strong", "small", "--cheap", "big", "--signal", "code", "--bootstrap", "0").err
    assert "small is no better than big here" in turned and "is no better than" not in told


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ('{"s": 4.5}', "`s` of 'small' is 4.5, which is not from 0 to 1: put marks on that scale"),
        ('{"s": -0.1}', "`s` of 'small' is -0.1, which"),
        ('{"s": 1, "confidence": 85}', "`confidence` of 'small' is 85.0, which is not from 0 to 1: take a probability"),
    ],
)
def test_a_mark_out_of_range_is_named(cell: str, told: str, muxer: Run, tmp_path: Path) -> None:
    good = '{"prompt": "a", "models": {"big": {"s": 1}, "small": {"s": 0, "confidence": 1}}}'
    bad = f'{{"prompt": "b", "models": {{"big": {{"s": 0}}, "small": {cell}}}}}'
    (tmp_path / "marks.jsonl").write_text(f"{good}\n{bad}\n")
    ran = muxer("eval", "marks.jsonl", *PAIR)
    assert ran.code == 2
    assert f"marks.jsonl:2: {told}" in ran.err


def test_rows_that_are_none_are_named(muxer: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "models": {}}\n\n{"prompt": 1}\n')
    assert "bad.jsonl:3: Expected `str`" in muxer("eval", "bad.jsonl", *PAIR).err
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    assert "cut.jsonl.gz: no whole gzip file" in muxer("eval", "cut.jsonl.gz", *PAIR).err
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "the data has no row" in muxer("eval", "empty.jsonl", *PAIR).err
    (tmp_path / "none.jsonl").write_text('{"prompt": "a", "models": {"big": {"s": 1}}}\n')
    assert "no row of the data has both 'big' and 'small'" in muxer("eval", "none.jsonl", *PAIR).err
