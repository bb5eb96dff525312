"""The rule language of `when`: one condition over named values, type-checked once and then asked per request."""

import ast
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from operator import eq, ge, gt, itemgetter, le, lt, ne
from typing import NamedTuple

from msgspec import Struct

MAX_CHARS = 2_000
MAX_DEPTH = 32

Values = Mapping[str, object]
Getter = Callable[[Values], object]
Test = Callable[[Values], bool]
Operation = Callable[..., bool]


def _printable(text: str) -> str:
    """The text without what a terminal takes for an order: it quotes the condition."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


class ExpressionInvalid(Exception):  # named for what happened, as all errors here
    """The condition cannot be used: why, at which character (from 0), and what would be right."""

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        self.message, self.hint = _printable(message), _printable(hint)
        super().__init__(self.message)
        self.offset = offset


class UnknownName(ExpressionInvalid):
    """It reads a value that nothing measures."""

    def __init__(self, name: str, offset: int, hint: str = "") -> None:
        super().__init__(f"unknown name '{name}'", offset, hint)
        self.name = name


class Compared(NamedTuple):
    """One comparison of a condition as it came out: its source, its operands' values, whether it held."""

    source: str
    operands: tuple[object, ...]
    result: bool


class _Comparison(Struct, frozen=True):
    source: str
    operands: tuple[Getter, ...]
    holds: Test


class Expression(Struct, frozen=True, eq=False):
    """A condition that passed every check. `names` are the values it reads, each once."""

    source: str
    names: tuple[str, ...]
    _holds: Test
    _comparisons: tuple[_Comparison, ...]

    def __call__(self, values: Values) -> bool:
        """Whether the condition holds. A name missing in `values` is our own mistake and raises KeyError."""
        return self._holds(values)

    def read(self, values: Values) -> dict[str, object]:
        """The values that the condition reads, in the order in which it names them."""
        return {name: values.get(name) for name in self.names}

    def explain(self, values: Values) -> list[Compared]:
        """Every comparison, evaluated or not by `__call__`; a missing value shows as None and does not hold."""
        return [
            Compared(c.source, tuple(_tried(get, values) for get in c.operands), _tried(c.holds, values) is True)
            for c in self._comparisons
        ]


def compile_expression(source: str, types: Mapping[str, type]) -> Expression:
    """Compiles a condition over names of type float, int, bool, str, or tuple (a set of str).

    Raises ExpressionInvalid.
    """
    # Nothing of the source is executed: Python's parser only gives a tree, and what is known in that tree
    # is rebuilt as closures over look-ups, literals and comparisons.
    reader = _Reader(source, types)
    holds = reader.condition(reader.parsed(), depth=1)
    reader.refuse_comments()
    return Expression(source, tuple(reader.names), holds, tuple(reader.comparisons))


def _chain(getters: Sequence[Getter], operations: Sequence[Operation]) -> Test:
    first, *others = getters
    if len(others) == 1:
        second, compare = others[0], operations[0]
        return lambda values: compare(first(values), second(values))

    def holds(values: Values) -> bool:
        left = first(values)
        for compare, get in zip(operations, others, strict=True):
            right = get(values)
            if not compare(left, right):
                return False
            left = right
        return True

    return holds


def _tried(get: Getter, values: Values) -> object:
    try:
        return get(values)
    except (KeyError, TypeError):  # a value that is missing, or not of its declared type
        return None


_ORDERINGS: dict[type[ast.cmpop], Operation] = {ast.Lt: lt, ast.LtE: le, ast.Gt: gt, ast.GtE: ge}
_EQUALITIES: dict[type[ast.cmpop], Operation] = {ast.Eq: eq, ast.NotEq: ne}
_MEMBERSHIPS: dict[type[ast.cmpop], Operation] = {
    ast.In: lambda item, box: item in box,
    ast.NotIn: lambda item, box: item not in box,
}
_OPERATIONS = {**_ORDERINGS, **_EQUALITIES, **_MEMBERSHIPS}

_SHAPES = {float: "number", int: "number", bool: "flag", str: "text", tuple: "tags"}
_WORDS = {
    "number": "a number",
    "flag": "true or false",
    "text": "text",
    "tags": "a set of tags",
    "list of number": "a list of numbers",
    "list of text": "a list of texts",
}
_AS_CONDITION = {
    "number": "compare it, for example: {} >= 0.5",
    "text": 'compare it, for example: {} == "x"',
    "tags": 'ask for one, for example: "x" in {}',
    "list of number": "ask for a member, for example: chars in {}",
    "list of text": "ask for a member, for example: user in {}",
}
_ALLOWED = "a condition has names, literals, comparisons, and, or, not, in"
# What people write from the habit of other languages, looked for once the parser has given up.
_HABITS = {
    r"&&|\bAND\b": "write 'and'",
    r"\|\||\bOR\b": "write 'or'",
    r"!(?!=)|\bNOT\b": "write 'not'",
    r"<>": "write '!='",
    r"\b[0-9]+[kKM]\b": "write the number out, such as 10_000",
    r"(?<![=<>!])=(?!=)": "write '==' for equal",
}
# One literal only: Python would silently join "a" "b", which in a list is a forgotten comma.
_STRING = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
_BLANKS = str.maketrans("\n\r\t\f", "    ")


def _misfit(left: str, operation: type[ast.cmpop], right: str) -> str:
    """What would be right where two shapes cannot be compared so; empty where they can."""
    if operation in _ORDERINGS:
        return "" if left == right == "number" else "only numbers have an order"
    if operation in _MEMBERSHIPS:
        fits = right == f"list of {left}" or (left, right) == ("text", "tags")
        return "" if fits else "'in' takes a text in tags, or a text or number in a list of the same"
    if operation not in _EQUALITIES:
        return "write == or != instead of 'is'"
    if left == right and left in ("number", "flag", "text"):
        return ""
    if "flag" in (left, right):
        return "true or false needs no comparison: write its name, or 'not' and its name"
    if {left, right} == {"number", "text"}:
        return "numbers are written without quotes, text with them"
    return "look for one member with 'in'"


class _Operand(NamedTuple):
    node: ast.expr
    shape: str
    get: Getter


class _Reader:
    """Reads one source; collects the names and comparisons it meets."""

    def __init__(self, source: str, types: Mapping[str, type]) -> None:
        self.names: dict[str, None] = {}
        self.comparisons: list[_Comparison] = []
        self._types = types
        # A condition may stand on several lines of YAML. Blanks are replaced one for one, so offsets stay true.
        self._text = source.translate(_BLANKS).lstrip(" ")
        self._shift = len(source) - len(self._text)
        # Python counts the columns of a tree in bytes; a lone surrogate never gets as far as a tree.
        self._bytes = self._text.encode(errors="replace")

    def parsed(self) -> ast.expr:
        """The syntax tree, not checked yet."""
        if len(self._text) > MAX_CHARS:
            raise ExpressionInvalid(f"longer than {MAX_CHARS} characters", MAX_CHARS, "split it into two routes")
        if not self._text:
            raise ExpressionInvalid("the condition is empty", 0, "a route without 'when' always matches")
        try:
            # The parser warns of oddities such as `1or 2`, which are errors in a rule.
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            # Python says 0 when the text ends where an operand should stand.
            at = len(self._text) if error.offset == 0 else (error.offset or 1) - 1
            raise self._unreadable(at) from error
        except (ValueError, RecursionError, MemoryError, Warning) as error:
            raise self._unreadable(0) from error

    def condition(self, node: ast.expr, *, depth: int) -> Test:
        """A test for a node that must be true or false."""
        if depth > MAX_DEPTH:
            raise self._invalid(node, f"nested more than {MAX_DEPTH} deep", "split it into two routes")
        match node:
            case ast.BoolOp(op=ast.And()):
                tests = [self.condition(value, depth=depth + 1) for value in node.values]
                return lambda values: all(test(values) for test in tests)
            case ast.BoolOp():
                tests = [self.condition(value, depth=depth + 1) for value in node.values]
                return lambda values: any(test(values) for test in tests)
            case ast.UnaryOp(op=ast.Not()):
                test = self.condition(node.operand, depth=depth + 1)
                return lambda values: not test(values)
            case ast.Compare():
                return self._comparison(node)
        operand = self._operand(node)
        if operand.shape != "flag":
            message = f"{self._quoted(node)} is {_WORDS[operand.shape]}, not a condition"
            raise self._invalid(node, message, _AS_CONDITION[operand.shape].format(self._cut(node)))
        return self._kept(node, (operand,), lambda values: bool(operand.get(values)))

    def refuse_comments(self) -> None:
        """Python's tree has no comments: what stood behind a `#` would be dropped in silence."""
        place = _STRING.sub(lambda string: "_" * len(string[0]), self._text).find("#")
        if place >= 0:
            raise ExpressionInvalid("a comment is not possible here", self._shift + place, _ALLOWED)

    def _comparison(self, node: ast.Compare) -> Test:
        operands = tuple(self._operand(part) for part in (node.left, *node.comparators))
        for left, operation, right in zip(operands, node.ops, operands[1:], strict=False):
            if type(operation) in _MEMBERSHIPS and len(node.ops) > 1:
                raise self._invalid(right.node, "'in' cannot be part of a chain", "join comparisons with 'and'")
            hint = _misfit(left.shape, type(operation), right.shape)
            if hint:
                one = f"{self._quoted(left.node)} is {_WORDS[left.shape]}"
                other = f"{self._quoted(right.node)} is {_WORDS[right.shape]}"
                raise self._invalid(left.node, f"{one} and {other}", hint)
        operations = [_OPERATIONS[type(operation)] for operation in node.ops]
        return self._kept(node, operands, _chain([operand.get for operand in operands], operations))

    def _operand(self, node: ast.expr) -> _Operand:
        value: object
        match node:
            case ast.Name(id=name) if name not in ("true", "false"):
                if name not in self._types:
                    close = get_close_matches(name, self._types, 1)
                    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(self._types))}"
                    raise UnknownName(name, self._shift + self._place(node.col_offset), hint)
                self.names[name] = None
                return _Operand(node, _SHAPES[self._types[name]], itemgetter(name))
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                members = [self._literal(element) for element in elements]
                shapes = {shape for shape, _ in members}
                if len(shapes) != 1 or "flag" in shapes:
                    raise self._invalid(node, "a list has texts only or numbers only", "at least one of them")
                shape, value = f"list of {shapes.pop()}", tuple(value for _, value in members)
            case _:
                shape, value = self._literal(node)
        return _Operand(node, shape, lambda _: value)

    def _literal(self, node: ast.expr) -> tuple[str, object]:
        match node:
            case ast.Name(id="true" | "false"):
                return "flag", node.id == "true"
            case ast.Constant(value=bool(flag)):
                return "flag", flag
            case ast.Constant(value=int(number) | float(number)) if abs(number) < 1e300:
                return "number", number
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                shape, value = self._literal(node.operand)
                if isinstance(value, int | float) and shape == "number":
                    return shape, -value
            case ast.Constant(value=str(text)) if _STRING.fullmatch(self._cut(node)):
                return "text", text
            case ast.Constant(value=str()):
                raise self._invalid(node, f"{self._quoted(node)} is not one plain text", "is a comma missing?")
            case ast.Name():
                raise self._invalid(node, f"a list has literals only, not {self._quoted(node)}", "use == and 'or'")
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise self._invalid(node, "a condition cannot be compared", "join conditions with 'and' or 'or'")
        raise self._invalid(node, f"{self._quoted(node)} is not possible in a condition", _ALLOWED)

    def _kept(self, node: ast.expr, operands: Sequence[_Operand], holds: Test) -> Test:
        self.comparisons.append(_Comparison(self._cut(node), tuple(o.get for o in operands), holds))
        return holds

    def _unreadable(self, place: int) -> ExpressionInvalid:
        place = min(place, len(self._text))
        rest = self._text[place : place + 20].strip().encode(errors="replace").decode()
        message = f"not understood at '{rest}'" if rest else "it ends too early"
        hint = next((hint for habit, hint in _HABITS.items() if re.search(habit, self._text)), _ALLOWED)
        return ExpressionInvalid(message, self._shift + place, hint)

    def _invalid(self, node: ast.expr, message: str, hint: str) -> ExpressionInvalid:
        return ExpressionInvalid(message, self._shift + self._place(node.col_offset), hint)

    def _place(self, column: int) -> int:
        return len(self._bytes[:column].decode())

    def _cut(self, node: ast.expr) -> str:
        return self._bytes[node.col_offset : node.end_col_offset].decode()

    def _quoted(self, node: ast.expr) -> str:
        text = self._cut(node)
        short = text if len(text) <= 40 else f"{text[:37]}..."
        return short if short[0] in "\"'" else f"'{short}'"
