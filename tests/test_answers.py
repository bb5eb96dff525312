"""Whole answers and streams say the same."""

import pytest

from muxer.answers import collect, each, pieces
from muxer.types import Answer, Choice, FunctionCall, TokenLogprob, ToolCall, Usage

SIGNED = ToolCall("c1", FunctionCall("f", "{}"), extra_content={"google": {"thought_signature": "c2ln"}})
TOKENS = (TokenLogprob("Hi", -0.5, (TokenLogprob("Hi", -0.5), TokenLogprob("Ho", -1.5))), TokenLogprob("!", -0.1))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(choices=(Choice(text="Hi!", reasoning="Hm.", logprobs=TOKENS),), usage=Usage(1, 2)),
        Answer(choices=(Choice(text=None, tool_calls=(SIGNED, ToolCall("c2", FunctionCall("g", "{}")))),)),
        Answer(choices=(Choice(text="A"), Choice(text="B", finish_reason="length")), dropped=("seed",)),
    ],
    ids=["log-probabilities", "signed calls", "two choices"],
)
async def test_an_answer_in_pieces_is_the_answer_again(answer: Answer) -> None:
    assert await collect(each(pieces(answer))) == answer
