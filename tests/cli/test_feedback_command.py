import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Ran

Run = Callable[..., Ran]


def records(muxer: Run) -> dict[str, float | None]:
    """The scores in the store by request id."""
    return {one["id"]: one["feedback"] for one in json.loads(muxer("requests", "--json").out)}


def test_scores_of_a_file_are_kept_and_the_last_one_counts(recorded: Path, muxer: Run) -> None:
    first, second, third = records(muxer)
    lines = [{"request_id": first, "score": 0}, {"request_id": second, "score": 0.5, "by": "judge-1"}, {}]
    lines[2] = {"request_id": first, "score": 1}
    with gzip.open(recorded.parent / "scores.jsonl.gz", "wt") as file:
        file.write("\n\n".join(map(json.dumps, lines)))
    ran = muxer("feedback", "import", "scores.jsonl.gz")
    assert (ran.code, ran.out, ran.err) == (0, "2 scores kept\n", "")
    assert records(muxer) == {first: 1.0, second: 0.5, third: None}


def test_wrong_lines_are_named_and_the_others_kept(recorded: Path, muxer: Run) -> None:
    first, *_ = records(muxer)
    lines = ["{", '{"request_id": "req_0", "score": 1}', f'{{"request_id": "{first}", "score": 1.5}}', "[]", "\xff", ""]
    lines += ['{"score": 1}', f'{{"request_id": "{first}", "score": 0.25}}']
    (recorded.parent / "scores.jsonl").write_text("\n".join(lines), encoding="latin-1")
    ran = muxer("feedback", "import", "scores.jsonl")
    assert (ran.code, ran.out) == (1, "1 score kept\n")
    assert [line.split(" ")[0] for line in ran.err.splitlines()] == [
        f"scores.jsonl:{number}:" for number in (1, 3, 4, 5, 7, 2)
    ]
    assert "no request 'req_0' is recorded" in ran.err and "$.score" in ran.err
    assert records(muxer)[first] == 0.25
    found = json.loads(muxer("feedback", "import", "scores.jsonl", "--json").out)
    assert (found["kept"], len(found["wrong"])) == (1, 6)


def test_more_than_a_page_of_wrong_lines_is_cut_short(recorded: Path, muxer: Run) -> None:
    (recorded.parent / "scores.jsonl").write_text("?\n" * 1_234)
    ran = muxer("feedback", "import", "scores.jsonl")
    assert ran.code == 1 and len(ran.err.splitlines()) == 21
    assert ran.err.endswith("and 1,214 more; --json has them all\n")


def test_many_scores_are_kept(recorded: Path, muxer: Run) -> None:
    first, *_ = records(muxer)
    lines = [json.dumps({"request_id": f"req_{number}", "score": 1}) for number in range(1_200)]
    lines.append(json.dumps({"request_id": first, "score": 1}))
    (recorded.parent / "scores.jsonl").write_text("\n".join(lines))
    assert muxer("feedback", "import", "scores.jsonl").out == "1 score kept\n"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.jsonl", None, "none.jsonl: No such file"),
        ("cut.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:-9], "cut.jsonl.gz: no whole gzip file"),
    ],
    ids=["none", "cut"],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    recorded: Path, muxer: Run, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        (recorded.parent / name).write_bytes(content)
    ran = muxer("feedback", "import", name)
    assert ran.code == 2 and told in ran.err


def test_without_a_store_nothing_is_kept_and_none_is_made(routing: Path, muxer: Run) -> None:
    (routing.parent / "scores.jsonl").write_text('{"request_id": "req_0", "score": 1}')
    ran = muxer("feedback", "import", "scores.jsonl")
    assert ran.code == 2 and "no requests are recorded in muxer.db" in ran.err
    assert not (routing.parent / "muxer.db").exists()
