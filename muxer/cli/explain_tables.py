"""What `muxer explain` prints for people: each part of a decision as a table that fits the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from muxer.cli.output import NOTHING, Cell, Column, bad, good, print_table, warned
from muxer.explanation import Explanation, as_json

Told = Mapping[str, Any]
Row = Sequence[Cell]
_SIGNALS = (Column("signal"), Column("value", is_number=True), Column("raised by", wraps=True))
_RULES = (
    Column(""),
    Column("line", is_number=True),
    Column("rule"),
    Column("holds"),
    Column("when", wraps=True),
    Column("values", wraps=True),
)
_CANDIDATES = (
    Column(""),
    Column("model"),
    Column("provider", is_spare=True),
    Column("expected $", is_number=True),
    Column("9 in 10 $", is_number=True, is_spare=True),
    Column("at most $", is_number=True),
    Column("quality", is_number=True, is_spare=True),
)
_PASSED_OVER = (Column("gate"), Column("because", wraps=True), Column("models", wraps=True))
_PARTS = (Column("part"), Column("tokens", is_number=True), Column("$", is_number=True))
_LIMITS = (
    Column("limit", wraps=True),
    Column("of", wraps=True),
    Column("left", wraps=True),
    Column("asks"),
    Column("fits"),
)
_ELSEWHERE = (
    Column("model"),
    Column("expected $", is_number=True),
    Column("of the chosen", is_number=True),
    Column("at most $", is_number=True),
)


def print_explanation(found: Explanation) -> None:
    """Prints the decision, then what led to it in the order in which it was looked at."""
    told, console = as_json(found), Console(highlight=False, soft_wrap=True)
    console.print(_headline(found))
    if found.plan is not None:
        console.print(Text(found.plan.reason, "dim"))
    if told["cascade"]:
        console.print(Text(_cascade(told["cascade"]), "dim"))
    if found.question.affinity.model:
        console.print(Text(_affinity(found), "dim"))
    if told["hedge"]:
        console.print(Text(_hedge(told["hedge"]), "dim"))
    if found.error is not None:
        console.print(bad(f"refused with {found.error.status} {found.error.code}: {found.error.message}"))
    _print("The request", _SIGNALS, _signals(told))
    _print("Rules, in the order they are asked", _RULES, [_rule(rule) for rule in told["rules"]])
    able = [one for one in told["candidates"] if not one["gate"]]
    _print("Candidates, in the order they would be asked", _CANDIDATES, [_candidate(one) for one in able])
    chosen = next((one for one in able if one["chosen"]), None)
    if chosen is not None and chosen["expected"]:
        _print("Its expected cost, by part", _PARTS, _parts(chosen))
    _print("Passed over", _PASSED_OVER, _passed_over(told["candidates"]))
    if told["limits_unknown"]:
        console.print(warned(f"\nlimits are not known: {told['limits_unknown']}"))
    _print_limits(told, chosen)
    named = {one["model"] for one in told["candidates"]}
    others = [one for one in told["elsewhere"] if one["model"] not in named]
    _print("The same request at other models", _ELSEWHERE, _elsewhere(others, chosen))
    _print("Other models that could not", _PASSED_OVER, _passed_over(others))


def _print(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """A table under its title; nothing where there is nothing to say."""
    if rows:
        console = Console(highlight=False, soft_wrap=True)
        console.print()
        console.print(Text(title, "bold"))
        print_table(columns, rows)


def _headline(found: Explanation) -> Text:
    chosen, plan = found.chosen, found.plan
    words = Text(f"{found.question.requested} → ")
    if plan is not None:
        words.append(f"route {plan.route} → ")
    if chosen is None:
        return words.append("nobody", "bold red")
    return words.append(chosen.model.name, "bold green").append(f" at {chosen.model.provider}")


def _cascade(cascade: Mapping[str, Any]) -> str:
    stages = ", then ".join(" or ".join(names) for names in cascade["stages"])
    return f"cascade: {stages}, while an answer is less than {cascade['confidence']:.2f} sure (by {cascade['by']})"


def _hedge(hedge: Mapping[str, Any]) -> str:
    return f"{hedge['model']} is asked, too, when no answer has begun after {hedge['after_s']:g} s"


def _affinity(found: Explanation) -> str:
    affinity = found.question.affinity
    return f"the conversation is on {affinity.model}, which has read {affinity.cached_tokens:,} tokens of it"


def _signals(told: Told) -> list[Row]:
    """Numbers that are not zero and words that are not empty, those with evidence first."""
    evidence: Mapping[str, Sequence[str]] = told["evidence"]
    shown = {name: value for name, value in told["signals"].items() if value not in (0, "", [], False)}
    order = sorted(shown, key=lambda name: (name not in evidence, list(shown).index(name)))
    return [(name, _value(shown[name]), ", ".join(evidence.get(name, ())) or NOTHING) for name in order]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _rule(rule: Told) -> Row:
    values = [f"{name} {_value(value) or 'empty'}" for name, value in rule["values"].items()]
    decides, holds = rule["decides"], rule["holds"]
    if rule["share"] is not None:
        drawn = {None: "", True: ", drawn", False: ", not drawn"}[rule["drawn"]]
        values.append(f"share {100 * rule['share']:g}%{drawn}")
    return (
        good("→") if decides else "",
        str(rule["line"] or NOTHING),
        rule["name"],
        good("yes") if decides else warned("yes, but") if holds else "no",
        rule["when"] or "(always)",
        ", ".join(values) or NOTHING,
    )


def _candidate(one: Told) -> Row:
    return (
        good("→") if one["chosen"] else "",
        good(one["model"]) if one["chosen"] else one["model"],
        one["provider"],
        one["expected_usd"] or NOTHING,
        one["expected"]["nine_in_ten_usd"] if one["expected"] else NOTHING,
        one["bound_usd"] or NOTHING,
        NOTHING if one["quality"] is None else f"{one['quality']:.2f}",
    )


def _parts(chosen: Told) -> list[Row]:
    """The expected cost by what it is for; what is not there is not listed."""
    parts = chosen["expected"]
    rows: list[Row] = [
        (words, f"{parts[f'{tokens}_tokens']:,}", parts[f"{name}_usd"])
        for words, tokens, name in (
            ("input", "input", "input"),
            ("input from the cache", "cached", "cached"),
            ("input written to the cache", "cache_write", "cache_write"),
            ("output", "output", "output"),
        )
        if parts[f"{tokens}_tokens"]
    ]
    if parts["retries_usd"] != "0":
        rows.append(("tries that fail", NOTHING, parts["retries_usd"]))
    return [
        *rows,
        (Text("expected", "bold"), "", Text(chosen["expected_usd"], "bold")),
        ("nine in ten cost no more than", "", parts["nine_in_ten_usd"]),
        ("at most", "", chosen["bound_usd"]),
    ]


def _passed_over(judged: Iterable[Told]) -> list[Row]:
    """One row for each reason, in the order in which they first came up."""
    models: dict[tuple[str, str], list[str]] = {}
    for one in judged:
        if one["gate"]:
            models.setdefault((one["gate"], one["why"]), []).append(one["model"])
    return [(bad(gate), why, ", ".join(names)) for (gate, why), names in models.items()]


def _print_limits(told: Told, chosen: Told | None) -> None:
    """The limits of the model asked first, and those that kept others out: with the budget as the judge there may be
    a set of limits for each candidate."""
    limits: Sequence[Told] = told["limits"]
    first = chosen["model"] if chosen else limits[0]["model"] if limits else ""
    shown = [one for one in limits if one["model"] == first or not one["fits"]]
    rows = [_limit(one) for one in shown]
    if any(one["model"] != first for one in shown):
        named = [(one["model"], *row) for one, row in zip(shown, rows, strict=True)]
        _print("Limits it would meet", (Column("model", wraps=True), *_LIMITS), named)
    else:
        _print("Limits it would meet", _LIMITS, rows)


def _limit(one: Told) -> Row:
    fits = good("yes") if one["fits"] else bad("no")
    who = f"{one['per']} {one['subject']}".strip()
    if "unit" in one:
        left = f"{one['remaining']:,} of {one['capacity']:,} {one['unit']}"
        return one["limit"], who, left, f"{one['asks']:,}", fits
    if one["limit_usd"] is None:
        return one["limit"], f"{who}, {one['window']}", "no limit", f"${one['asks_usd']}", fits
    used = f"${one['limit_usd']} - {one['spent_usd']} spent"
    used += "".join(f" - {one[f'{kind}_usd']} {kind}" for kind in ("held", "presumed") if one[f"{kind}_usd"] != "0")
    return one["limit"], f"{who}, {one['window']}", used, f"${one['asks_usd']}", fits


def _elsewhere(others: Sequence[Told], chosen: Told | None) -> list[Row]:
    """The cheapest first."""
    able = sorted((one for one in others if not one["gate"]), key=lambda one: float(one["expected_usd"] or "inf"))
    return [
        (one["model"], one["expected_usd"] or NOTHING, _of(one, chosen), one["bound_usd"] or NOTHING) for one in able
    ]


def _of(one: Told, chosen: Told | None) -> str:
    """What it costs for each dollar of the chosen, in percent."""
    cost, base = (float(each["expected_usd"] or 0) if each else 0.0 for each in (one, chosen))
    return f"{100 * cost / base:.0f} %" if base and one["expected_usd"] else NOTHING
