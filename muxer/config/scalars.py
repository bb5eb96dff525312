"""One scalar to one value of a simple type, or the words that say what was expected."""

import math
import re
from decimal import Decimal

from msgspec import Struct, inspect

from muxer.config.hints import nearest, number_hint
from muxer.config.tree import Scalar, shown

LARGEST_USD = 9_007_199
"""The most dollars an amount may say: beyond it a store that counts in doubles would be inexact (S1)."""

_LARGEST_INT = 2**63 - 1
_WHOLE = re.compile(r"[-+]?[0-9]{1,19}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")
PERCENT = r"[0-9]{1,3}(\.[0-9]{1,9})? ?%"
_PERCENT = re.compile(PERCENT)
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+")
_LONGEST_NUMBER = 40


class Wrong(Struct, frozen=True):
    """Why a scalar does not fit."""

    message: str
    hint: str = ""


def read(node: Scalar, wanted: inspect.Type) -> object:
    """The value of that type, or Wrong. Messages never show a value from the environment, nor any text's value."""
    if isinstance(wanted, inspect.StrType):
        return _text(node, wanted)
    if isinstance(wanted, inspect.LiteralType):
        return _one_of(node, {str(value): value for value in wanted.values})
    if isinstance(wanted, inspect.EnumType):
        return _one_of(node, {str(member.value): member for member in wanted.cls})
    if isinstance(wanted, inspect.NoneType):
        return None if node.sort == "nothing" else _expected(node, "nothing")
    if isinstance(wanted, inspect.BoolType):
        if node.sort in ("boolean", "filled") and node.text in ("true", "false"):
            return node.text == "true"
        return _expected(node, "true or false")
    if isinstance(wanted, inspect.IntType):
        return _whole(node, wanted)
    if isinstance(wanted, inspect.FloatType):
        return _number(node, wanted)
    if isinstance(wanted, inspect.DecimalType):
        return _amount(node)
    return Wrong(f"a setting of type {type(wanted).__name__.removesuffix('Type').lower()} cannot be written here")


def plain(node: Scalar) -> object:
    """The value a scalar looks like, where any is taken."""
    if node.sort == "nothing":
        return None
    if node.sort == "boolean":
        return node.text == "true"
    wanted = {"whole": inspect.IntType(), "number": inspect.FloatType()}.get(node.sort, inspect.StrType())
    return read(node, wanted)


def described(wanted: inspect.Type) -> str:
    """A type in words, for what could be several."""
    words = {
        inspect.StrType: "text",
        inspect.BoolType: "true or false",
        inspect.IntType: "a whole number",
        inspect.FloatType: "a number",
        inspect.DecimalType: "an amount",
        inspect.StructType: "a mapping",
        inspect.DictType: "a mapping",
        inspect.LiteralType: "one of some words",
    }
    return words.get(type(wanted), "a list")


def _expected(node: Scalar, what: str, hint: str = "") -> Wrong:
    if node.variable:
        return Wrong(f"expected {what}", hint)
    looks_numeric = node.sort in ("whole", "number", "boolean")
    found = "nothing" if node.sort == "nothing" else node.written if looks_numeric else shown(node.written)
    return Wrong(f"expected {what}, found {found}", hint)


def _text(node: Scalar, wanted: inspect.StrType) -> object:
    if node.sort not in ("text", "filled"):
        # What was meant as text may be a secret.
        found = {"nothing": "nothing", "boolean": "a boolean"}.get(node.sort, "a number")
        return Wrong(f"expected text, found {found}", "" if found == "nothing" else "write it in quotes")
    length = len(node.text)
    if wanted.min_length is not None and length < wanted.min_length:
        return Wrong("empty" if not length else f"shorter than {wanted.min_length} characters")
    if wanted.max_length is not None and length > wanted.max_length:
        return Wrong(f"longer than {wanted.max_length} characters")
    if wanted.pattern is not None and re.search(wanted.pattern, node.text) is None:
        return Wrong(f"does not match {wanted.pattern}")
    return node.text


def _one_of(node: Scalar, values: dict[str, object]) -> object:
    is_word = node.sort in ("text", "filled")
    for word, value in values.items():
        if node.text == word and (node.sort == "filled" or is_word != isinstance(value, int)):
            return value
    what = " or ".join(values) if len(values) < 3 else f"one of {', '.join(values)}"
    if node.text in values:
        return _expected(node, what, "write it in quotes" if not is_word else "write it without quotes")
    return _expected(node, what, nearest(node.text, values) if is_word else "")


def _digits(node: Scalar, fits: re.Pattern[str], sorts: tuple[str, ...]) -> str | None:
    """The digits of a number without its underscores, if it is one."""
    if node.sort not in (*sorts, "filled"):
        return None
    digits = node.text.strip().replace("_", "")
    return digits if len(digits) <= _LONGEST_NUMBER and fits.fullmatch(digits) else None


def _numeric(node: Scalar, what: str) -> Wrong:
    is_quoted = node.sort == "text" and _NUMBER.fullmatch(node.text[:_LONGEST_NUMBER]) is not None
    hint = "write it without quotes" if is_quoted else number_hint(node.text) if node.sort == "text" else ""
    return _expected(node, what, hint)


def _whole(node: Scalar, wanted: inspect.IntType) -> object:
    digits = _digits(node, _WHOLE, ("whole",))
    if digits is None or abs(int(digits)) > _LARGEST_INT:
        return _numeric(node, "a whole number")
    return _in_range(node, int(digits), wanted)


def _number(node: Scalar, wanted: inspect.FloatType) -> object:
    if is_share(wanted) and _PERCENT.fullmatch(node.text[:_LONGEST_NUMBER]) and node.sort in ("text", "filled"):
        return _in_range(node, float(Decimal(node.text.removesuffix("%").rstrip()) / 100), wanted)
    digits = _digits(node, _NUMBER, ("whole", "number"))
    if digits is None or not math.isfinite(float(digits)):
        return _numeric(node, "a share such as 0.1 or 10%" if is_share(wanted) else "a number")
    return _in_range(node, float(digits), wanted)


def is_share(wanted: inspect.FloatType) -> bool:
    """Whether it is a part of a whole, which may be written in percent, too."""
    return wanted.ge == 0 and wanted.le == 1


def _amount(node: Scalar) -> object:
    """Money: never through a float, never negative."""
    digits = _digits(node, _AMOUNT, ("whole", "number"))
    if digits is None:
        return _numeric(node, "an amount such as 10 or 0.25")
    amount = Decimal(digits)
    return amount if amount <= LARGEST_USD else _expected(node, f"at most {LARGEST_USD:_}")


def _in_range(node: Scalar, number: float, wanted: inspect.IntType | inspect.FloatType) -> object:
    if wanted.ge is not None and number < wanted.ge:
        return _expected(node, f"at least {wanted.ge}")
    if wanted.gt is not None and number <= wanted.gt:
        return _expected(node, f"more than {wanted.gt}")
    if wanted.le is not None and number > wanted.le:
        is_part = isinstance(wanted, inspect.FloatType) and is_share(wanted)
        return _expected(node, f"at most {wanted.le}", "a tenth is 0.1 or 10%" if is_part else "")
    if wanted.lt is not None and number >= wanted.lt:
        return _expected(node, f"less than {wanted.lt}")
    if wanted.multiple_of is not None and number % wanted.multiple_of:
        return _expected(node, f"a multiple of {wanted.multiple_of}")
    return number
