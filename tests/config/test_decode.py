"""Settings types a plugin may bring."""

from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from muxer.config.decode import Decoder
from muxer.config.faults import Faults
from muxer.config.source import locate


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    size: int = 0


class Plugin(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: Annotated[str, Meta(pattern="^redis")] = "redis://x"
    names: str | tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()
    mode: Mode = Mode.FAST
    level: Literal[1, 2, "high"] = 1
    inner: dict[str, Inner] = msgspec.field(default_factory=dict)
    extra: object = None
    price: Decimal | None = None
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    renamed: int = msgspec.field(default=0, name="other-name")


class Paired(Struct, frozen=True, forbid_unknown_fields=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, over high")


class OneOf(Struct, frozen=True, forbid_unknown_fields=True):
    secret: Annotated[str, Meta(min_length=32)] | None = None

    def __post_init__(self) -> None:
        if self.secret is None:
            raise ValueError("give one of secret and key")


def _decoded(text: str, variables: dict[str, str] | None = None) -> tuple[Plugin | None, list[str]]:
    faults = Faults("f")
    node = locate(text.encode(), variables or {}, faults)
    value = Decoder(faults).struct(node, Plugin, "")
    return value, [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{url: redis://y}", Plugin(url="redis://y")),
        ("names: one", Plugin(names="one")),
        ("names: [one, two]", Plugin(names=("one", "two"))),
        ("ports: [1, 2, 1]", Plugin(ports=frozenset({1, 2}))),
        ("mode: slow", Plugin(mode=Mode.SLOW)),
        ("level: 2", Plugin(level=2)),
        ("level: high", Plugin(level="high")),
        ("inner: {a: {size: 1}, b: {}}", Plugin(inner={"a": Inner(1), "b": Inner()})),
        ("extra: {a: [1, 1.5, true, null, x]}", Plugin(extra={"a": [1, 1.5, True, None, "x"]})),
        ("price: 0.1", Plugin(price=Decimal("0.1"))),
        ("price: 1_000.25", Plugin(price=Decimal("1000.25"))),
        ("price: null", Plugin()),
        ("share: 1e-3", Plugin(share=0.001)),
        ("other-name: 7", Plugin(renamed=7)),
        ("share: '${SHARE}'", Plugin(share=0.25)),
        ("extra: '${SHARE}'", Plugin(extra="0.25")),
    ],
)
def test_any_type_is_decoded(text: str, expected: Plugin) -> None:
    assert _decoded(text, {"SHARE": "0.25\n"}) == (expected, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("url: http://secret", "f:1:6: url: does not match ^redis"),
        ("names: {}", "f:1:8: names: expected text or a list, found a mapping"),
        ("ports: [1, x]", "f:1:12: ports[1]: expected a whole number, found 'x'"),
        ("mode: slw", "f:1:7: mode: expected fast or slow, found 'slw'; did you mean 'slow'?"),
        ("level: '2'", None),
        ("inner: {a: {sise: 1}}", "f:1:13: inner.a.sise: unknown key 'sise'; did you mean 'size'?"),
        ("share: 1", "f:1:8: share: expected less than 1, found 1"),
        ("othername: 7", "f:1:1: othername: unknown key 'othername'; did you mean 'other-name'?"),
        ("price: 99999999999999999999999999999999999999999", None),
        ("extra: '${GONE}'", "f:1:8: extra: GONE is not set; set it, or write ${GONE:-DEFAULT}"),
    ],
)
def test_what_does_not_fit_is_told(text: str, fault: str | None) -> None:
    _, faults = _decoded(text)
    assert faults == [fault] if fault else len(faults) == 1


def test_a_field_that_does_not_fit_falls_back_so_that_others_are_checked() -> None:
    value, faults = _decoded("{share: 7, names: 3, level: 2}")
    assert value == Plugin(level=2)
    assert len(faults) == 2


def test_a_plugins_own_refusal_is_told_unless_it_could_quote_the_environment() -> None:
    for text, words in [("{low: 2, high: 1}", "low is 2, over high"), ("{low: '${N}', high: 1}", "do not fit")]:
        faults = Faults("f")
        node = locate(text.encode(), {"N": "2"}, faults)
        assert Decoder(faults).struct(node, Paired, "store") is None
        assert [words in fault.message for fault in faults] == [True]


def test_what_a_plugin_says_of_a_default_in_place_of_a_fault_is_not_told() -> None:
    faults = Faults("f")
    node = locate(b"{secret: short}", {}, faults)
    assert Decoder(faults).struct(node, OneOf, "door") is None
    assert [str(fault) for fault in faults] == ["f:1:10: door.secret: shorter than 32 characters"]
