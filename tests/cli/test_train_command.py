import json
import random
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from muxer.cli.train import HELD_SHARE
from tests.cli.running import Ran

Run = Callable[..., Ran]
WORDS = ("--strong", "big", "--cheap", "small", "--out", "difficulty.model")


def write(path: Path, *, misleads: bool = False, count: int = 300) -> str:
    """Prompts of which mostly those with a lemma need the big model; of those to mislead, the others."""
    chance = random.Random(4)
    lines = []
    for at in range(count):
        is_hard = chance.random() < 0.5
        words = f"{'prove the lemma' if is_hard else 'name the river'} number {at}"
        is_turned = misleads and crc32(words.encode()) % HELD_SHARE != 0
        fails = (is_hard != is_turned) == (chance.random() < 0.9)
        models = {"big": {"s": 1}, "small": {"s": 0 if fails else 1}}
        lines.append(json.dumps({"prompt": words, "models": models}))
    path.write_text("\n".join(lines))
    return path.name


def test_what_is_learned_is_written_and_used(tmp_path: Path, muxer: Run) -> None:
    data = write(tmp_path / "data.jsonl")
    ran = muxer("train", data, *WORDS, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["written"] and found["after"] > max(found["before"], 0.65)
    assert found["learned_from"] + found["held"] == 300
    judged = muxer("eval", data, *WORDS[:4], "--signal", "difficulty", "--artefact", "difficulty.model", "--json")
    assert json.loads(judged.out)["ranked"]["difficulty"]["value"]["apgr"] > 0.65
    beside = muxer("eval", data, *WORDS[:4], "--signal", "difficulty", "--json")
    assert json.loads(beside.out) == json.loads(judged.out)


def test_a_worse_one_does_not_replace_what_is_there(tmp_path: Path, muxer: Run) -> None:
    good, bad = write(tmp_path / "good.jsonl"), write(tmp_path / "bad.jsonl", misleads=True)
    assert muxer("train", good, *WORDS).code == 0
    before = (tmp_path / "difficulty.model").read_bytes()
    refused = muxer("train", bad, *WORDS)
    assert (refused.code, (tmp_path / "difficulty.model").read_bytes()) == (1, before)
    assert "difficulty.model stays as it is" in refused.err
    assert muxer("train", bad, *WORDS, "--force").code == 0
    assert (tmp_path / "difficulty.model").read_bytes() != before


def test_the_same_data_again_is_no_worse(tmp_path: Path, muxer: Run) -> None:
    data = write(tmp_path / "data.jsonl")
    assert [muxer("train", data, *WORDS).code for _ in range(2)] == [0, 0]


def test_a_report_is_one_page_about_what_was_held_back(tmp_path: Path, muxer: Run) -> None:
    data = write(tmp_path / "data.jsonl")
    ran = muxer("train", data, *WORDS, "--report", "report.html", "--json")
    assert ran.code == 0, ran.err
    found, page = json.loads(ran.out), (tmp_path / "report.html").read_text()
    assert f"Learned from {found['learned_from']} prompts and judged on {found['held']} others" in page
    assert all(f"<td>{name}</td>" in page for name in ("random", "before", "difficulty", "oracle"))
    assert f"<td>{found['after']:.3f}</td>" in page
    assert page.count("<svg") == 2 and "http://" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "prove the lemma" not in page


def test_a_report_needs_prompts_that_were_held_back(tmp_path: Path, muxer: Run) -> None:
    (tmp_path / "few.jsonl").write_text("")
    assert muxer("train", "few.jsonl", *WORDS, "--report", "report.html").code == 2
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*WORDS[:5], "no/folder.model"), "no/folder.model: there is no folder no"),
        ((*WORDS, "--report", "no/page.html"), "no/page.html: there is no folder no"),
        (
            ("--strong", "huge", *WORDS[2:]),
            "no row of the data has both 'huge' and 'small'; its models: big (300), small (300)",
        ),
        ((*WORDS, "--signal", "code", "--plugin", "heuristics"), "it does not learn"),
        ((*WORDS, "--signal", "cod", "--plugin", "heuristics"), "has no signal 'cod'"),
    ],
)
def test_what_cannot_be_learned_is_an_error(words: tuple[str, ...], told: str, tmp_path: Path, muxer: Run) -> None:
    ran = muxer("train", write(tmp_path / "data.jsonl"), *words)
    assert ran.code == 2
    assert told in ran.err


def test_few_rows_are_not_enough(tmp_path: Path, muxer: Run) -> None:
    ran = muxer("train", write(tmp_path / "data.jsonl", count=20), *WORDS)
    assert ran.code == 2
    assert "20 rows with both models; training takes at least 50" in ran.err
