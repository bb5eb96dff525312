"""Single values of the input as the result writes them, or a word in the report on why they cannot be."""

import re
from decimal import Decimal, InvalidOperation

from muxer.config.scalars import LARGEST_USD
from muxer.litellm_import.report import Report
from muxer.litellm_import.tree import Items, View

LONGEST_NUMBER = 40
"""The most characters a number of the result may have."""

REFERENCE = "os.environ/"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[-+]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][-+]?[0-9]{1,2})?")
_LARGEST_WHOLE = 2**53
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w|mo)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}
_WORDS = {"hourly": 3_600, "daily": 86_400, "weekly": 604_800, "monthly": 30 * 86_400}


def escaped(text: str) -> str:
    """A text as `routing.yaml` takes it without seeing a reference in it."""
    return text.replace("${", "$${")


def variable_in(text: object) -> str | None:
    """The variable an `os.environ/NAME` names; None for any other value, and for a name that is none."""
    if not isinstance(text, str) or not text.startswith(REFERENCE):
        return None
    name = text.removeprefix(REFERENCE).strip()
    return name if _NAME.fullmatch(name) else None


def is_reference(view: View) -> bool:
    """Whether it is an `os.environ/NAME`, well written or not."""
    return isinstance(view.value, str) and view.value.startswith(REFERENCE)


def text(view: View, report: Report) -> str | None:
    """A text or a number as text, a reference as `${NAME}`; None and a word in the report for anything else."""
    value = view.value
    if is_reference(view):
        name = variable_in(value)
        if name is None:
            report.wrong(view, f"{REFERENCE} must be followed by the name of a variable")
            return None
        report.variables.setdefault(name, f"{view.path} reads it")
        return f"${{{name}}}"
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return plain(Decimal(value))
    report.wrong(view, "expected text")
    return None


def number(view: View, report: Report, *, least: Decimal = Decimal(0), is_whole: bool = False) -> Decimal | None:
    """A number, also one in quotes as LiteLLM takes them; None and a word in the report for anything else."""
    found = _number(view)
    what = "a whole number" if is_whole else "a number"
    if found is None or (is_whole and found != found.to_integral_value()):
        hint = "; one from the environment cannot be read here" if is_reference(view) else ""
        report.wrong(view, f"expected {what}{hint}")
        return None
    if found < least:
        report.wrong(view, f"expected at least {least}")
        return None
    if found > _LARGEST_WHOLE or len(plain(found)) > LONGEST_NUMBER:
        report.wrong(view, "too large, or with too many digits")
        return None
    return found


def whole(view: View, report: Report, least: int = 1) -> int | str | None:
    """A whole number, or `${NAME}` for one that the environment gives; None and a word in the report otherwise."""
    if is_reference(view):
        return text(view, report)
    found = number(view, report, least=Decimal(least), is_whole=True)
    return None if found is None else int(found)


def dollars(view: View, report: Report) -> Decimal | None:
    """An amount of money."""
    found = number(view, report)
    if found is not None and found > LARGEST_USD:
        report.wrong(view, f"more than {LARGEST_USD:,} dollars")
        return None
    return found


def flag(view: View, report: Report) -> bool | None:
    """True or false."""
    if isinstance(view.value, bool):
        return view.value
    report.wrong(view, "expected true or false")
    return None


def names(view: View, report: Report) -> list[View]:
    """The texts of a list; what is no text is told and left out."""
    if not isinstance(view.node, Items):
        report.wrong(view, "expected a list")
        return []
    found = []
    for item in view.items():
        if isinstance(item.value, str) and item.value:
            found.append(item)
        else:
            report.wrong(item, "expected a name")
    return found


def seconds(view: View, report: Report) -> int | None:
    """The seconds of a duration such as 30d, 1mo or 12h."""
    value = view.value
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        match = _DURATION.fullmatch(value)
        if match is not None and int(match[1]):
            return int(match[1]) * _SECONDS[match[2]]
    report.wrong(view, "expected a duration such as 30s, 12h, 7d or 1mo")
    return None


def plain(amount: Decimal) -> str:
    """A number without an exponent and with no digit too many."""
    words = f"{amount:f}"
    return (words.rstrip("0").rstrip(".") if "." in words else words) or "0"


def _number(view: View) -> Decimal | None:
    value = view.value
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        return Decimal(value)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        return Decimal(value.strip())
    except InvalidOperation:
        return None
