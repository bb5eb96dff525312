"""The two tables of docs/routing-quality.md, made of what `bench.routing` found.

It has no command; `bench.routing --tables` uses it.
"""

from collections.abc import Iterator, Sequence

from bench.routing_found import LEFT_OUT, RULES, WITHIN, Found, Ranked

_WAYS = ("length", RULES, WITHIN, LEFT_OUT, "oracle")


def tables(found: Found) -> Iterator[str]:
    """Their lines."""
    yield from _table(
        ("set", *_WAYS),
        [
            (name, *(_cell(one.ranked[way], has_interval=way in (WITHIN, LEFT_OUT)) for way in _WAYS))
            for name, one in found.sets.items()
        ],
    )
    yield ""
    yield from _table(
        ("set", "random", "rules before", "rules now", f"{LEFT_OUT}, above {RULES}"),
        [
            (
                name,
                f"0.5; {_money(one.ranked['random'])}",
                *(_cell(one.ranked[way], has_interval=True) for way in ("rules before", "rules now")),
                f"{one.over_rules.value:+.4f} [{one.over_rules.low:+.4f}, {one.over_rules.high:+.4f}]",
            )
            for name, one in found.sets.items()
        ],
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(ranked: Ranked, *, has_interval: bool) -> str:
    around = f" [{ranked.low:.3f}, {ranked.high:.3f}]" if has_interval else ""
    return f"{ranked.apgr:.3f}{around}; {_money(ranked)}"


def _money(ranked: Ranked) -> str:
    return "unknown" if ranked.saved is None else f"{100 * ranked.saved:.1f} %"
