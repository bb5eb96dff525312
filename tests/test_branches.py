"""The two sides of a share compared: the sums are exact, and the intervals hold what they say."""

import random
from itertools import pairwise

import pytest

from muxer.branches import Comparison, Comparisons, Mean, Side, as_json
from muxer.testing import a_record
from muxer.types import Record


def a_turn(conversation: object, branch: str = "trial", **changes: object) -> Record:
    values = {"state": "done", "cost_nanos": 1_000_000, "ms": 100.0, **changes}
    return a_record(conversation=str(conversation), branch=branch, **values)


def compared(*records: Record) -> list[Comparison]:
    comparisons = Comparisons()
    for record in records:
        comparisons.add(record)
    return comparisons.found


def a_side(*records: Record) -> Side:
    side = Side()
    for record in records:
        side.add(record)
    return side


def test_each_side_has_its_requests() -> None:
    others = a_turn(2, "not trial", ms=50.0), a_turn(3, ""), a_turn(4, state="open")
    (found,) = compared(a_turn(1), a_turn(1, cost_nanos=3_000_000), *others)
    assert found.route == "trial"
    assert (found.inside.requests, found.inside.conversations, found.outside.requests) == (2, 1, 1)
    assert (found.inside.usd.value, found.outside.ms.value) == (0.002, 50.0)
    assert found.usd.value == pytest.approx(0.001) and found.ms.value == 50.0


def test_a_request_that_met_several_shares_counts_for_each() -> None:
    found = compared(a_turn(1, "not x, y"), a_turn(2, "x"))
    assert [(one.route, one.inside.requests, one.outside.requests) for one in found] == [("x", 1, 1), ("y", 1, 0)]


def test_what_is_presumed_counts_and_what_failed_has_no_time() -> None:
    side = a_side(a_turn(1), a_turn(2, state="failed", presumed_nanos=2_000_000, cost_nanos=0, ms=9_999.0))
    assert (side.usd.value, side.ms, side.failed.value) == (0.0015, Mean(100.0), 0.5)


def test_a_score_counts_where_there_is_one() -> None:
    judged = [a_turn(number, feedback=score) for number, score in enumerate((1.0, 0.5, 0.0, None))]
    (found,) = compared(*judged, a_turn(0, feedback=1.0), a_turn(9, "not trial", feedback=0.25))
    assert (found.inside.scored, found.inside.feedback.value, found.outside.scored) == (4, 0.625, 1)
    assert found.feedback.value == 0.375 and found.feedback.low is None  # one conversation says nothing of others
    assert as_json([found])[0]["in"]["scored"] == 4 and a_side(a_turn(1)).feedback == Mean()


def test_that_all_were_content_does_not_mean_that_all_will_be() -> None:
    side = a_side(*(a_turn(number, feedback=1.0) for number in range(10)))
    assert (side.feedback.value, side.feedback.high) == pytest.approx((1.0, 1.0))
    assert side.feedback.low == pytest.approx(0.7225, abs=1e-3)


def test_nothing_is_claimed_of_one_conversation_or_of_none() -> None:
    (found,) = compared(a_turn(1), a_turn(1, ms=300.0))
    assert found.inside.usd == Mean(0.001) and found.inside.ms == Mean(200.0)
    assert found.outside.usd == found.usd == Mean()
    assert as_json([found])[0]["difference"]["usd"] == {"value": None, "low": None, "high": None}


def test_the_interval_of_independent_requests_is_that_of_student() -> None:
    values = [1.0, 2.0, 4.0, 7.0, 11.0]
    side = a_side(*(a_turn(number, ms=value) for number, value in enumerate(values)))
    reach = 2.776 * (sum((value - 5) ** 2 for value in values) / 4 / 5) ** 0.5  # t of 4 degrees of freedom
    assert (side.ms.value, side.ms.low, side.ms.high) == pytest.approx((5.0, 5 - reach, 5 + reach), abs=0.02)


def test_turns_of_the_same_conversations_make_no_interval_narrower() -> None:
    talks = [a_turn(number, ms=100.0 * number) for number in range(10)]
    once, often = a_side(*talks), a_side(*(talks * 20))
    assert (often.ms.low, often.ms.high) == pytest.approx((once.ms.low, once.ms.high))


def test_that_nothing_failed_does_not_mean_that_nothing_will() -> None:
    few, many = (a_side(*(a_turn(number) for number in range(count))).failed for count in (10, 1_000))
    assert (few.value, few.low, many.low) == pytest.approx((0.0, 0.0, 0.0))
    assert few.high == pytest.approx(0.2775, abs=1e-3) and many.high == pytest.approx(0.0038, abs=1e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    chance, held = random.Random(7), {"ms": 0, "failed": 0, "difference": 0, "feedback": 0}
    for _ in range(300):
        sides = []
        for _ in range(2):
            records = []
            for talk in range(40):
                level, turns = chance.gauss(100, 30), chance.randint(1, 6)
                states = ["failed" if chance.random() < 0.2 else "done" for _ in range(turns)]
                likes = chance.betavariate(6, 2)
                records += [
                    a_turn(talk, ms=level + chance.gauss(0, 10), state=state, feedback=float(chance.random() < likes))
                    for state in states
                ]
            sides.append(a_side(*records))
        found = Comparison("trial", *sides)
        held["ms"] += _holds(sides[0].ms, 100)
        held["failed"] += _holds(sides[0].failed, 0.2)
        held["difference"] += _holds(found.ms, 0)
        held["feedback"] += _holds(sides[0].feedback, 0.75)
    assert all(0.92 <= count / 300 <= 0.99 for count in held.values()), held


def _holds(one: Mean, truth: float) -> bool:
    assert one.low is not None and one.high is not None
    return one.low <= truth <= one.high


def test_more_conversations_make_the_interval_narrower() -> None:
    counts = (2, 4, 6, 20, 500)
    sides = [a_side(*(a_turn(talk, ms=80.0 + 40 * (talk % 2)) for talk in range(count))) for count in counts]
    widths = [(side.ms.high or 0) - (side.ms.low or 0) for side in sides]
    assert all(wider > narrower for wider, narrower in pairwise(widths))
