import asyncio
import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from muxer.embedded import Muxer
from tests.cli.running import ROUTING, Ran

Run = Callable[..., Ran]


def test_models_are_summed_up_by_default_with_a_total(recorded: Path, muxer: Run) -> None:
    titles, big, small, total = muxer("usage").lines
    assert titles == ["model", "requests", "in", "out", "spent", "$"]
    assert (big[:2], small[:2], total[:2]) == (["big", "1"], ["small", "2"], ["total", "3"])
    assert Decimal(total[-1]) == Decimal(big[-1]) + Decimal(small[-1])


def test_several_fields_make_finer_groups(recorded: Path, muxer: Run) -> None:
    rows = json.loads(muxer("usage", "--by", "user,route", "--json").out)
    assert {(row["user"], row["route"]): row["requests"] for row in rows} == {
        ("alice", "code"): 1,
        ("alice", "default"): 1,
        ("bob", "default"): 1,
    }
    assert list(rows[0]) == ["user", "route", "requests", "tokens", "spent_usd", "held_usd", "presumed_usd"]


def test_csv_has_every_number(recorded: Path, muxer: Run) -> None:
    rows = list(csv.DictReader(muxer("usage", "--by", "user", "--csv").out.splitlines()))
    assert {row["user"]: row["requests"] for row in rows} == {"alice": "2", "bob": "1"}
    assert list(rows[0])[1:4] == ["requests", "input_tokens", "cached_input_tokens"]


def test_days_are_in_order_and_empty_values_have_a_dash(recorded: Path, muxer: Run) -> None:
    _, row = muxer("usage", "--by", "day,team").lines
    assert row[0].count("-") == 2
    assert row[1:3] == ["-", "3"]


def test_filters_pick(recorded: Path, muxer: Run) -> None:
    assert muxer("usage", "--user", "bob").lines[1][:2] == ["small", "1"]
    assert muxer("usage", "--since", "0s").out == "no request in muxer.db matches\n"


def test_an_unknown_field_is_wrong_usage(muxer: Run) -> None:
    ran = muxer("usage", "--by", "user,colour")
    assert ran.code == 2
    assert "cannot sum up by 'colour'; known: user, team" in ran.err


@pytest.mark.parametrize(
    ("form", "out"),
    [([], "no requests recorded yet in muxer.db\n"), (["--json"], "[]\n"), (["--csv"], "model,requests,input_tokens")],
)
def test_without_a_store_there_is_nothing_and_none_is_made(
    routing: Path, muxer: Run, form: list[str], out: str
) -> None:
    ran = muxer("usage", *form)
    assert ran.code == 0
    assert ran.out.startswith(out)
    assert not (routing.parent / "muxer.db").exists()


def test_a_store_of_another_program_is_not_read(routing: Path, muxer: Run) -> None:
    (routing.parent / "muxer.db").write_text("not a database " * 100)
    ran = muxer("usage")
    assert ran.code == 2
    assert "the store 'muxer.db' cannot be opened" in ran.err


SHARED = ROUTING.replace("{name: code,", "{name: trial, use: [small], share: 50%}\n  - {name: code,").replace(
    "limits: [{per: user, daily_usd: 1, hold: expected}]", "limits: [{per: user, concurrent: 9}]"
)


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    """A store with forty conversations that met a share."""
    path = tmp_path / "routing.yaml"
    path.write_text(SHARED)

    async def record() -> None:
        async with Muxer(path, demo=True, environ={}) as mux:
            for number in range(40):
                await mux.acompletion(messages=[{"role": "user", "content": f"What is 2+{number}?"}])

    asyncio.run(record())
    return path


def test_both_sides_of_a_share_are_compared(tried: Path, muxer: Run) -> None:
    (found,) = json.loads(muxer("usage", "--by", "branch", "--json").out)
    assert found["route"] == "trial" and found["in"]["requests"] + found["not_in"]["requests"] == 40
    assert 8 <= found["in"]["requests"] == found["in"]["conversations"] <= 32
    usd = found["difference"]["usd"]
    assert usd["low"] < usd["value"] < usd["high"]
    assert found["in"]["scored"] == 0 and found["difference"]["feedback"]["value"] is None
    titles, requests, *_, failed = muxer("usage", "--by", "branch").lines
    assert titles == ["trial", "not", "trial", "difference", "95", "%", "interval"]
    assert requests == ["requests", str(found["in"]["requests"]), str(found["not_in"]["requests"])]
    assert failed[:4] == ["%", "failed", "0", "0"] and failed[4:6] == ["+0", failed[5]]


def test_scores_of_both_sides_are_compared(tried: Path, muxer: Run) -> None:
    records = json.loads(muxer("requests", "--json").out)
    scores = [{"request_id": one["id"], "score": 1 if one["branch"] == "trial" else number % 2}
              for number, one in enumerate(records)]  # fmt: skip
    (tried.parent / "scores.jsonl").write_text("\n".join(map(json.dumps, scores)))
    assert muxer("feedback", "import", "scores.jsonl").code == 0
    *_, scored, _, _, _, score = muxer("usage", "--by", "branch").lines
    (found,) = json.loads(muxer("usage", "--by", "branch", "--json").out)
    assert scored == ["scored", *(str(found[side]["requests"]) for side in ("in", "not_in"))]
    change = found["difference"]["feedback"]
    assert score[:2] == ["score", "1"] and float(score[3]) == pytest.approx(change["value"], abs=1e-3)
    assert 0 < change["low"] < change["value"] < change["high"]


def test_without_a_share_there_is_nothing_to_compare(recorded: Path, muxer: Run) -> None:
    assert muxer("usage", "--by", "branch").out == "no request met a route with a share\n"
    assert json.loads(muxer("usage", "--by", "branch", "--json").out) == []


def test_a_comparison_stands_alone_and_has_no_csv(muxer: Run) -> None:
    assert muxer("usage", "--by", "branch,model").code == 2
    ran = muxer("usage", "--by", "branch", "--csv")
    assert (ran.code, ran.err) == (2, "only sums have --csv; take --json\n")


def test_expected_costs_are_put_beside_settled_ones(recorded: Path, muxer: Run) -> None:
    found = json.loads(muxer("usage", "--calibration", "--json").out)
    assert [one["model"] for one in found["models"]] == ["big", "small"] and found["left_out"] == 1
    for one in found["models"]:
        assert one["requests"] == 1 and one["ratio"] == one["quantiles"]["p50"]
        assert one["ratio"] == pytest.approx(float(one["settled_usd"]) / float(one["expected_usd"]))
    titles, big, small = muxer("usage", "--calibration").lines
    assert (titles[0], big[:2], small[:2]) == ("model", ["big", "1"], ["small", "1"])


def test_without_records_nothing_is_calibrated(routing: Path, muxer: Run) -> None:
    assert muxer("usage", "--calibration").out == "no requests recorded yet in muxer.db\n"
    assert muxer("usage", "--calibration", "--by", "user").code == 2
