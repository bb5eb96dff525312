"""The bound on input tokens against real tokenizers, which LiteLLM ships: never below what they count (T9, S3)."""

import json

import litellm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxer.signals import measure
from muxer.wire.openai_inbound import Chat

TOKENIZERS = {"cl100k": "gpt-3.5-turbo", "claude": "claude-2"}
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=400),
    st.text(alphabet="😀👩‍👩‍👧‍👦🇩🇪\u0301\u200d\ufe0fßéあ漢字ไทยहिन्दी\x00\t\r\n", max_size=200),
    st.from_regex(r"[A-Za-z]{200,600}", fullmatch=True),
    st.from_regex(r"(\d{1,9}[,. ]){1,60}", fullmatch=True),
    st.from_regex(r"(def f\(x\):\n {4}return x\n){1,9}", fullmatch=True),
    st.lists(st.sampled_from(["<|endoftext|>", "<|im_start|>", "the ", "antidisestablishmentarianism ", "\n\n\n"])).map(
        "".join
    ),
)
TOOLS = st.lists(
    st.fixed_dictionaries({"name": st.from_regex(r"[a-z_]{1,40}", fullmatch=True), "description": TEXTS}), max_size=3
)


@pytest.mark.parametrize("model", TOKENIZERS.values(), ids=TOKENIZERS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), tools=TOOLS)
@settings(max_examples=300, deadline=None)
def test_the_bound_is_at_least_what_a_tokenizer_counts(
    model: str, texts: list[str], tools: list[dict[str, str]]
) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": text} for text in texts],
        **({"tools": [{"type": "function", "function": tool} for tool in tools]} if tools else {}),
    }
    inbound = Chat().read(json.dumps(body).encode())
    bound = measure(inbound.request, inbound.raw, {}, is_priced=True).bound_tokens
    sent = [*texts, *(json.dumps(tool) for tool in tools)]
    counted = sum(len(litellm.encode(model=model, text=text)) for text in sent if text)
    assert bound is not None and bound >= counted
