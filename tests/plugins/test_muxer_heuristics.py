"""The signals `code`, `complexity` and `simple`: the routes they lead to and what must not move them."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muxer_heuristics import (
    READ_CHARS,
    SIGNALS,
    Heuristics,
    HeuristicsSettings,
    _words,
    open_heuristics,
    register_signals,
)
from muxer_heuristics.learned import LEARNED

from muxer import ChatRequest, ImagePart, ImageURL, Message, Signal, SignalValue, TextPart
from muxer.testing import SignalContract, a_request, open_context

signal = Heuristics()
calmly = settings(deadline=None)


class TestHeuristics(SignalContract):
    declared = SIGNALS

    def signal(self) -> Signal:
        return Heuristics()


def measured(*texts: str) -> Mapping[str, SignalValue]:
    """The signals of a conversation in which the user said these things, one after the other."""
    messages = [Message(role="system", content="You are a terse assistant.")]
    for text in texts:
        messages += [Message(role="assistant", content="Certainly."), Message(role="user", content=text)]
    return signal.measure(ChatRequest(messages=tuple(messages)))


def route(*texts: str) -> str:
    """Where the shipped routing.yaml sends it."""
    values = measured(*texts)
    for name, raised in (("code", "code"), ("complexity", "complex"), ("simple", "simple")):
        if float(values[name]) >= 0.2 and (name != "simple" or len(texts[-1]) < 100):
            return raised
    return "default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a Python function to sort a list", "code"),
        ("Write a Python function to calculate fibonacci numbers", "code"),
        ("Analyze the time complexity of merge sort", "complex"),
        ("What is 2+2?", "simple"),
        ("What is the capital of France?", "simple"),
        ("Count from 1 to 10", "simple"),
        ("Hello", "simple"),
        ("Tell me about climate change", "default"),
    ],
)
def test_sends_the_examples_of_the_specification_where_it_says(text: str, expected: str) -> None:
    assert route(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "```\nx\n```",
        "Why is `x` empty here?",
        "Fix this: def f(x):\n    return x +",
        "#include <stdio.h>",
        "SELECT name FROM users WHERE age > 30",
        'Traceback (most recent call last):\n  File "a.py", line 1, in <module>',
        "How do I center a div in CSS?",
        "Implement a binary search tree",
        "build me a website for my shop",
        "Is there a better idiom for this in C++?",
        "Escribe una función en Python para ordenar una lista",
        "请写一个排序函数",
        "配列をソートするコードを書いて",
    ],
)
def test_recognises_code(text: str) -> None:
    assert route(text) == "code"


@pytest.mark.parametrize(
    "text",
    [
        "Explain the reasoning behind the theory of relativity",
        "Debug my argument about free will",
        "What are the pros and cons of nuclear energy?",
        "Think step-by-step: who of them is lying?",
        "Think step by step",
        "Prove that $\\sqrt{2}$ is irrational",
        "What if Rome had never fallen?",
        "Compare the French and the American revolution",
        "请分析一下中国经济",
        "Проанализируй причины войны",
        "A train leaves at 9 with 120 people, 35 get off at the first stop and 18 get on. How many are left on it?",
    ],
)
def test_recognises_what_needs_thought(text: str) -> None:
    assert route(text) == "complex"


@pytest.mark.parametrize(
    "text",
    [
        "What is the dress code for a wedding?",
        "Which class of ship is the Titanic?",
        "What is the function of the heart?",
        "What do pythons eat?",
        "How much coffee is grown in Java?",
        "What is the zip code of Palo Alto?",
        "日本の首都はどこですか？",
        "法国的首都是什么？",
        "¿Cuál es la capital de Francia?",
        "Столица Франции?",
        "Thanks!",
    ],
)
def test_everyday_questions_stay_simple(text: str) -> None:
    assert route(text) == "simple"


@pytest.mark.parametrize(
    "text",
    [
        "Write a poem about the sea",
        "Write a script for a YouTube video about cats",
        "Create a workout program for beginners",
        "Write a description for my website",
        "",
        "   ",
    ],
)
def test_open_requests_are_left_to_the_default(text: str) -> None:
    assert route(text) == "default"


@pytest.mark.parametrize(
    "manner",
    [
        "{}",
        "Hi! {}",
        "Please {}",
        "Could you please {}",
        "Hey, quick question: {}",
        "{} Thanks!",
        "{} thank you so much",
    ],
)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write a function that reverses a list in Java", "code"),
        ("prove that there are infinitely many primes", "complex"),
        ("what is the capital of Peru", "simple"),
        ("write a short story about the sea", "default"),
    ],
)
def test_how_one_asks_does_not_matter(manner: str, text: str, expected: str) -> None:
    assert route(manner.format(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "3 red and 5 blue marbles; two are drawn without replacement. What is the probability of two reds.",
            "complex",
        ),
        ("Let $x$ and $y$ be real numbers such that $x + y = 5$ and $xy = 6$. Find $x^3 + y^3$.", "complex"),
        ("Craft a heartfelt letter in which a teacher explains to her class why she is leaving", "default"),
        ("Write an engaging blog post about the history of the programming class at our school", "default"),
    ],
)
def test_mathematics_needs_thought_and_a_keyword_in_prose_does_not(text: str, expected: str) -> None:
    assert route(text) == expected


def test_learned_weights_stay_small() -> None:
    weights = [abs(weight) for lines in LEARNED.values() for weight in lines]
    assert 0 < max(weights) < 30  # no learned word leads to a dear route alone as surely as a keyword does


@pytest.mark.parametrize("follow_up", ["and now in Java?", "fix it", "Make it shorter", "why?"])
def test_a_follow_up_is_of_the_kind_it_follows_on(follow_up: str) -> None:
    assert route("Write a Python function to sort a list", follow_up) == "code"
    assert route("Write a Python function to sort a list", "do that again", follow_up) == "code"
    assert route("Write an essay on the sea", follow_up) != "code"


def test_a_new_question_owes_nothing_to_the_last() -> None:
    assert route("Write a Python function to sort a list", "What is the capital of France?") == "simple"
    assert measured("Explain gravity. " * 50, "Who wrote Hamlet?") == measured("Who wrote Hamlet?")


def test_a_request_without_a_question_raises_nothing() -> None:
    nothing = dict.fromkeys(SIGNALS, 0.0)
    image = Message(role="user", content=(ImagePart(ImageURL("https://example.org/a.png")),))
    assert signal.measure(ChatRequest(messages=())) == nothing
    assert signal.measure(ChatRequest(messages=(image,))) == nothing


def test_reads_the_text_beside_an_image() -> None:
    content = (TextPart("Write a Python function"), ImagePart(ImageURL("https://example.org/a.png")))
    request = ChatRequest(messages=(Message(role="user", content=content),))
    assert signal.measure(request) == measured("Write a Python function")


PIECES = "What is a Python function? Explain `x` the story in C++ def f(): $x^2$ 分析 1 2 3 select ü"
words = st.sampled_from(PIECES.split())
texts = st.one_of(st.text(), st.lists(words, max_size=40).map(" ".join), st.lists(words, max_size=40).map("\n".join))


@calmly
@given(texts)
def test_every_value_is_between_0_and_1(text: str) -> None:
    assert all(0 <= float(value) <= 1 for value in signal.measure(a_request(text)).values())


@calmly
@given(texts, st.text())
def test_a_system_prompt_changes_nothing(text: str, prompt: str) -> None:
    user = Message(role="user", content=text)
    system = Message(role="system", content=f"{prompt} def f(): ``` explain")
    for messages in ((system, user), (user, system)):
        assert signal.measure(ChatRequest(messages=messages)) == signal.measure(a_request(text))


@calmly
@given(st.lists(words, max_size=30))
def test_case_and_blanks_change_nothing(pieces: list[str]) -> None:
    expected = signal.measure(a_request(" ".join(pieces)))
    assert signal.measure(a_request(" ".join(pieces).upper())) == expected
    assert signal.measure(a_request(f"\n  {'   '.join(pieces)}\t\n")) == expected


@calmly
@given(texts)
def test_evidence_quotes_the_question(text: str) -> None:
    request = a_request(text)
    for name, quotes in signal.evidence(request).items():
        assert all(quote in text.casefold() and len(quote) <= 60 for quote in quotes)
        assert quotes or float(signal.measure(request)[name]) == 0


def test_evidence_names_the_words_that_decided() -> None:
    evidence = signal.evidence(a_request("Write a Python function to sort a list"))
    assert {"write", "python", "function"} <= set(evidence["code"])


@calmly
@given(st.text(st.characters(max_codepoint=127)))
def test_words_are_the_same_whichever_way_they_are_found(text: str) -> None:
    assert [*_words(text), "é"] == _words(f"{text} é")


@pytest.mark.parametrize("middle", ["", "x" * 1_000_000, "def f(): ``` explain\n" * 50_000])
def test_reads_the_head_and_the_tail_of_a_long_text_and_no_more(middle: str) -> None:
    head, tail = "Tell me more. " * READ_CHARS, "The sea is wide. " * READ_CHARS
    assert measured(head + middle + tail) == measured(head + tail)


async def test_opens_as_a_kind_without_settings() -> None:
    (kind,) = register_signals()
    async with open_context() as context, open_heuristics(HeuristicsSettings(), context) as opened:
        assert kind.name == "heuristics"
        assert opened.measure(a_request("Hello")).keys() == kind.signals.keys() == {"code", "complexity", "simple"}
