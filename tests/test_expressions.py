"""The rule language: what it takes, what it refuses and how it says so."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxer.expressions import MAX_CHARS, Expression, ExpressionInvalid, compile_expression

TYPES: Mapping[str, type] = {
    "code": float,
    "complexity": float,
    "chars": int,
    "has_tools": bool,
    "stream": bool,
    "user": str,
    "team": str,
    "tags": tuple,
}
VALUES: Mapping[str, object] = {
    "code": 0.5,
    "complexity": 0.1,
    "chars": 42,
    "has_tools": True,
    "stream": False,
    "user": "alice",
    "team": "research",
    "tags": ("beta", "eu"),
}


def compiled(source: str) -> Expression:
    return compile_expression(source, TYPES)


def refused(source: str) -> ExpressionInvalid:
    with pytest.raises(ExpressionInvalid) as caught:
        compiled(source)
    return caught.value


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("code >= 0.2", True),
        ("0.2 <= code < 0.5", False),
        ("complexity >= 0.2 or chars < 100", True),
        ("not (code > 0.2 and chars == 42)", False),
        ("code == 0.5", True),
        ("code > -1", True),
        ("chars > complexity", True),
        ("has_tools", True),
        ("not stream and true", True),
        ("stream == False", True),
        ("has_tools != stream", True),
        ('user == "alice" and team != user', True),
        ("user in ['bob', 'alice']", True),
        ("chars not in (41, -42)", True),
        ('"beta" in tags', True),
        ("user not in tags", True),
        ("  code >= 0.2\n  and chars < 100\n", True),
        ('user == "ali#ce"', False),
        ("(((code)) > 0)", True),
    ],
)
def test_says_what_python_would_say(source: str, result: bool) -> None:
    assert compiled(source)(VALUES) is result


def test_names_what_it_reads() -> None:
    assert compiled('code >= 0.2 and ("eu" in tags or stream)').names == ("code", "tags", "stream")


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("complexty >= 0.2", "unknown name 'complexty'", "did you mean 'complexity'?"),
        ("zebra", "unknown name 'zebra'", "known: chars, code"),
        ("code", "'code' is a number, not a condition", "code >= 0.5"),
        ("not user", "'user' is text, not a condition", 'user == "x"'),
        ("tags", "'tags' is a set of tags, not a condition", '"x" in tags'),
        ("1", "'1' is a number, not a condition", "compare it"),
        ("has_tools == 1", "'has_tools' is true or false and '1' is a number", "write its name"),
        ('chars < "100"', "'chars' is a number and \"100\" is text", "only numbers have an order"),
        ('chars == "100"', "'chars' is a number and \"100\" is text", "without quotes"),
        ("user < team", "'user' is text and 'team' is text", "only numbers have an order"),
        ("stream < has_tools", "true or false", "only numbers have an order"),
        ('tags == "eu"', "'tags' is a set of tags", "with 'in'"),
        ('"ali" in user', "'user' is text", "'in' takes a text in tags"),
        ("chars in tags", "'chars' is a number", "'in' takes a text in tags"),
        ("chars in ['a']", "'['a']' is a list of texts", "a list of the same"),
        ("user in [team]", "literals only, not 'team'", "=="),
        ("user in []", "texts only or numbers only", "at least one"),
        ("user in ['a', 1]", "texts only or numbers only", "at least one"),
        ("user in ['a' 'b']", "not one plain text", "comma"),
        ("(code > 0.1) == true", "a condition cannot be compared", "'and'"),
        ("'a' in tags == true", "cannot be part of a chain", "'and'"),
        ("code is 1", "is a number", "instead of 'is'"),
        ("code > 0.1 && stream", "not understood at '& stream'", "write 'and'"),
        ("code > 0.1 OR stream", "not understood at 'OR stream'", "write 'or'"),
        ("chars = 1", "not understood at '= 1'", "write '=='"),
        ("code >=", "it ends too early", "a condition has names"),
        ("code > 0.1  # and stream", "a comment is not possible", "a condition has names"),
        (" ", "the condition is empty", "without 'when' always matches"),
        ("code > 1e999", "'1e999' is not possible", "a condition has names"),
    ],
)
def test_says_what_is_wrong_and_what_would_be_right(source: str, message: str, hint: str) -> None:
    error = refused(source)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    "source",
    """
    user()|user.upper|user["x"]|chars + 1 > 2|-chars < 1|+1 < chars|~chars < 1|--1 < chars|f"{user}" == user
    "a" if stream else "b"|lambda: stream|(x := stream)|[t for t in tags]|{"a"}|{"a": 1}|user in {"a"}
    None|...|b"x" == user|1j == code|stream, has_tools|[*tags]|__import__("os")|yield|await user|user == r"x"
    tags[0] == "x"|user in ("a" for t in tags)|stream; stream|import os|chars > 1 > 2 > "x"|not|u"x" == user
    """.replace("\n", "|").split("|"),
)
def test_has_nothing_but_conditions(source: str) -> None:
    refused(source.strip())


@pytest.mark.parametrize(
    ("source", "offset"),
    [
        ("code > 1 and zebra > 1", 13),
        ("  zebra", 2),
        ('user == "é" and zebra > 1', 16),
        ("code >\n zebra", 8),
        ("code $ 1", 5),
    ],
)
def test_points_at_the_character(source: str, offset: int) -> None:
    assert refused(source).offset == offset


@pytest.mark.parametrize(
    "source",
    [
        "(" * 1000,
        "not " * 33 + "true",
        "not " * 499 + "true",
        "[" * MAX_CHARS,
        "true and " * 250,
        "\0",
        "\ud800",
        "é<" * 999,
    ],
)
def test_refuses_what_could_exhaust_the_parser(source: str) -> None:
    assert 0 <= refused(source).offset <= len(source)


def test_nests_to_the_bound() -> None:
    assert compiled("not " * 30 + "stream")(VALUES) is False


def test_takes_a_long_list_of_alternatives() -> None:
    assert compiled(" or ".join(["code > 0.9"] * 120 + ["stream"]))(VALUES) is False


def test_a_missing_value_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        compiled("code > 0.1")({})


def test_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        compiled("stream").source = "true"  # type: ignore[misc]


def test_explains_each_comparison_with_its_values() -> None:
    found = compiled('0.2 <= code < 0.4 and ("eu" in tags or not stream)').explain(VALUES)
    assert found == [
        ("0.2 <= code < 0.4", (0.2, 0.5, 0.4), False),
        ('"eu" in tags', ("eu", ("beta", "eu")), True),
        ("stream", (False,), False),
    ]


def test_explains_without_the_values_too() -> None:
    assert compiled("chars < 10 and stream").explain({}) == [
        ("chars < 10", (None, 10), False),
        ("stream", (None,), False),
    ]


number_names = st.sampled_from(["code", "complexity", "chars"])
numbers = st.one_of(number_names, st.integers(-99, 99).map(str), st.floats(-1, 1).map(repr))
texts = st.sampled_from(["user", "team", "'alice'", '"b#"', "'é'"])
flags = st.sampled_from(["has_tools", "stream", "true", "False"])
orders = st.sampled_from([" < ", "<=", " > ", ">=", " == ", "!="])
equals = st.sampled_from([" == ", "!="])
isin = st.sampled_from([" in ", " not in "])


def a_list(members: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(members, min_size=1, max_size=3).map(lambda some: f"[{', '.join(some)}]")


def joined(*pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*pieces).map("".join)


comparisons = st.one_of(
    flags,
    joined(numbers, orders, numbers),
    joined(numbers, orders, numbers, orders, numbers),
    joined(texts, equals, texts),
    joined(flags, equals, flags),
    joined(texts, isin, st.just("tags")),
    joined(texts, isin, a_list(st.sampled_from(["'alice'", '"x"']))),
    joined(numbers, isin, a_list(st.integers(-50, 50).map(str))),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        joined(st.just("("), inner, st.sampled_from([") and (", ") or ("]), inner, st.just(")")),
        joined(inner, st.sampled_from([" and ", "\n or "]), inner),
    ),
    max_leaves=8,
)
values = st.fixed_dictionaries(
    {
        "code": st.floats(0, 1),
        "complexity": st.floats(0, 1),
        "chars": st.integers(-99, 99),
        "has_tools": st.booleans(),
        "stream": st.booleans(),
        "user": st.sampled_from(["alice", "b#", "é", "x"]),
        "team": st.sampled_from(["alice", "y"]),
        "tags": st.lists(st.sampled_from(["alice", "b#", "x"])).map(tuple),
    }
)


@settings(deadline=None)
@given(conditions, values)
def test_every_valid_condition_means_what_it_means_in_python(source: str, given_values: dict[str, object]) -> None:
    expected = eval(source.replace("\n", " "), {"true": True, "__builtins__": {}}, given_values)
    expression = compiled(source)
    assert expression(given_values) is expected
    assert all(isinstance(found.result, bool) for found in expression.explain(given_values))


PIECES = """code chars user tags stream true and or not in is if else lambda ( ) [ ] { } : , . ; < <= == = != ! & | " '
# \\ 1 0.5 1_ 0x 1e9 f' b" - ~ * ** @ := é \0 for x await yield"""
pieces = st.sampled_from(PIECES.split())


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=60), st.lists(pieces, max_size=40).map(" ".join), st.lists(pieces, max_size=40).map("".join)
    )
)
def test_any_text_compiles_or_is_refused_with_a_place(source: str) -> None:
    try:
        compiled(source)
    except ExpressionInvalid as error:
        assert 0 <= error.offset <= len(source)
        assert error.message and error.hint and (error.message + error.hint).isprintable()
