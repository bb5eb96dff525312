"""How sure a model is of an answer: by the probabilities of its tokens, or by its own word when asked. Pure."""

import math
import re

from muxer.config.settings import ConfidenceBy
from muxer.types import ChatRequest, Choice, Message

SHORT_ANSWER_TOKENS = 4
"""In an answer of so few tokens the first decides: a letter, a number, yes or no."""
# Room for one number, and for what some models think before they say it.
CHECK_TOKENS, REASONED_CHECK_TOKENS = 16, 2_048
CHECK = (
    "How likely is it that your answer above is correct and complete? "
    "Reply with one whole number from 0 (certainly not) to 100 (certainly), and nothing else."
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def confidence(choice: Choice, by: ConfidenceBy, *, is_json: bool) -> float | None:
    """From 0 to 1; None where the answer says nothing of its tokens, or they are not asked (`self_check`). An answer
    without text, or one that a filter cut, is worth nothing.

    `mean` is the geometric mean of the probabilities of its tokens, `minimum` the least of them, `first` that of the
    first; tokens of white space do not count. `rule` takes the first token of a short answer, the least sure of JSON,
    whose syntax is always sure, and else the mean.
    """
    if not (choice.text or "").strip() or choice.finish_reason == "content_filter":
        return 0.0
    if by == "self_check":
        return None
    # A probability over 1 is a server's rounding.
    tokens = [min(0.0, one.logprob) for one in choice.logprobs if one.token.strip()]
    if not tokens:
        return None
    if by == "first" or (by == "rule" and len(tokens) <= SHORT_ANSWER_TOKENS):
        return math.exp(tokens[0])
    if by == "minimum" or (by == "rule" and is_json):
        return math.exp(min(tokens))
    return math.exp(math.fsum(tokens) / len(tokens))


def self_check(request: ChatRequest, answer: str, max_tokens: int) -> ChatRequest:
    """The conversation with the answer in it, and the question how sure the model is of that."""
    asked = (*request.messages, Message("assistant", answer), Message("user", CHECK))
    return ChatRequest(messages=asked, max_tokens=max_tokens, user=request.user)


def said(text: str) -> float | None:
    """What a model replied to that: its first number, as a share of 100; None where there is none."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    number = float(found[0])
    share = number if "." in found[0] and number <= 1 else number / 100
    return share if share <= 1 else None
