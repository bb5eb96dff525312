"""How sure an answer is: by its tokens in one of three ways, by a rule that picks one, or by the model's own word."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxer.confidence import SHORT_ANSWER_TOKENS, confidence, said, self_check
from muxer.config.settings import ConfidenceBy
from muxer.testing import a_request
from muxer.types import Choice, TokenLogprob


def an_answer(*probabilities: float, text: str = "so", token: str = " so", finish_reason: str = "stop") -> Choice:
    tokens = tuple(TokenLogprob(token, math.log(one)) for one in probabilities)
    return Choice(text=text, logprobs=tokens, finish_reason=finish_reason)


WAYS: tuple[ConfidenceBy, ...] = ("mean", "minimum", "first", "rule")
LONG = (0.5, 0.9, 0.1, 0.8, 0.9)


@pytest.mark.parametrize(
    ("by", "is_json", "probabilities", "expected"),
    [
        ("mean", False, LONG, math.prod(LONG) ** (1 / 5)),
        ("minimum", False, LONG, 0.1),
        ("first", False, LONG, 0.5),
        ("rule", False, LONG, math.prod(LONG) ** (1 / 5)),
        ("rule", True, LONG, 0.1),
        ("rule", False, LONG[:SHORT_ANSWER_TOKENS], 0.5),
        ("rule", True, LONG[:SHORT_ANSWER_TOKENS], 0.5),
        ("mean", False, LONG[:2], math.sqrt(0.45)),
    ],
)
def test_each_way_is_as_documented(
    by: ConfidenceBy, is_json: bool, probabilities: tuple[float, ...], expected: float
) -> None:
    assert confidence(an_answer(*probabilities), by, is_json=is_json) == pytest.approx(expected)


def test_tokens_of_white_space_do_not_count() -> None:
    spaced = Choice(text="\nA", logprobs=(TokenLogprob("\n", math.log(0.2)), TokenLogprob("A", math.log(0.9))))
    for by in WAYS:
        assert confidence(spaced, by, is_json=False) == pytest.approx(0.9)


def test_no_text_and_a_filtered_text_are_worth_nothing() -> None:
    assert confidence(an_answer(text=" \n"), "rule", is_json=False) == 0.0
    assert confidence(an_answer(0.99, finish_reason="content_filter"), "rule", is_json=False) == 0.0
    assert confidence(an_answer(text=""), "self_check", is_json=False) == 0.0


def test_who_says_nothing_of_tokens_or_is_to_be_asked_is_unknown() -> None:
    assert confidence(an_answer(), "mean", is_json=False) is None
    assert confidence(an_answer(0.9), "self_check", is_json=False) is None


@given(st.lists(st.floats(-10_000, 0.01), min_size=1, max_size=20), st.sampled_from(WAYS))
def test_it_is_a_share_whatever_a_server_says(logprobs: list[float], by: ConfidenceBy) -> None:
    choice = Choice(text="x", logprobs=tuple(TokenLogprob("x", one) for one in logprobs))
    found = confidence(choice, by, is_json=False)
    assert found is not None and 0 <= found <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("85", 0.85),
        ("I would say 85%.", 0.85),
        ("100", 1.0),
        ("0", 0.0),
        ("0.85", 0.85),
        ("99.5", 0.995),
        ("1", 0.01),
        ("101", None),
        ("sure", None),
        ("", None),
    ],
)
def test_a_reply_is_its_first_number(text: str, expected: float | None) -> None:
    assert said(text) == expected


def test_the_check_is_the_conversation_the_answer_and_the_question() -> None:
    asked = self_check(a_request("Where?"), "Here.", 16)
    assert [(message.role, message.text) for message in asked.messages[:2]] == [
        ("user", "Where?"),
        ("assistant", "Here."),
    ]
    assert (asked.messages[-1].role, asked.max_tokens, asked.stream) == ("user", 16, False)
