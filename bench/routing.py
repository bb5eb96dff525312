"""Routing quality on public per-prompt results, a row a set: `ROUTING_DATA=DIR python -m bench.routing`.

Ways to rank: random, length, the rules before and now, their `complexity`, `difficulty` learned within the set (ten
folds) and from the other sets that may be learned from (this one left out), oracle. Printed: APGR with its 95 %
interval, and the share of dollars saved at 99 % of the strong model's quality; how much quality `difficulty` with the
set left out has above `complexity`; what one decision costs; which promises are not kept (with `--check` exit code 1).

`--json FILE` keeps all of it, `--from FILE` takes it from there, `--plot FOLDER` draws it,
`--tables` prints it as docs/routing-quality.md has it.
"""

import argparse
import os
import sys
import timeit
from collections.abc import Sequence
from pathlib import Path

import msgspec
from muxer_difficulty.fit import fit, folds
from muxer_difficulty.model import load
from muxer_heuristics import Heuristics
from muxer_heuristics.words import COMPLEXITY

from bench import rules
from bench.routing_found import LEFT_OUT, RULES, WITHIN, Found, Gain, OfSet, Ranked, missed
from bench.routing_plot import drawn
from bench.routing_sets import ALLOWED, BORROWED, MOST, PAIRS, labelled, mixed, read_set, stem
from bench.routing_tables import tables
from muxer import ChatRequest, Labelled, Message
from muxer.evaluation.curves import Curve, Ordered, interpolated, intervals, measures, percentile, resamples
from muxer.evaluation.judged import lift
from muxer.evaluation.policies import scores
from muxer.evaluation.rows import Row

FOLDS, SEED = 10, 3


def within(rows: Sequence[Labelled]) -> list[float]:
    """Each prompt by a model that was learned without its fold."""
    found = [0.0] * len(rows)
    for held in folds([row.strong - row.cheap for row in rows], FOLDS, SEED):
        model = load(fit([row for at, row in enumerate(rows) if at not in held], lambda done: None))
        for at in held:
            found[at] = model.chance(rows[at].prompt)
    return found


def left_out(data: Path, name: str, prompts: Sequence[str]) -> list[float]:
    """Each prompt by a model that was learned from the other sets alone, without questions that are in both."""
    others = [other for other in ALLOWED if other != name]
    known = mixed(data, others, {stem(prompt) for prompt in prompts}, MOST, SEED)
    model = load(fit([], lambda done: None, known, BORROWED))
    return [model.chance(prompt) for prompt in prompts]


def of_set(data: Path, name: str, times: int) -> OfSet:
    """Every way to rank the prompts of one set."""
    rows, pairs = read_set(data, name)
    ranked: dict[str, list[float]] = {
        "random": [0.0] * len(rows),
        "length": [float(len(row.prompt)) for row in rows],
        "rules before": rules.before(rows),
        "rules now": rules.now(rows),
        RULES: scores(rows, Heuristics(), COMPLEXITY, lambda more: None),
        WITHIN: within(labelled(rows, pairs)),
        LEFT_OUT: left_out(data, name, [row.prompt for row in rows]),
        "oracle": [pair.strong - pair.cheap for pair in pairs],
    }
    ordered = {how: Ordered(values, pairs) for how, values in ranked.items()}
    return OfSet(
        *PAIRS[name],
        ranked={how: _measured(one, times) for how, one in ordered.items()},
        over_rules=gain(ordered[LEFT_OUT], ordered[RULES], times),
    )


def _measured(ordered: Ordered, times: int) -> Ranked:
    found, around = measures(ordered), intervals(ordered, times, SEED, lambda more: None)
    return Ranked(found["apgr"], *around["apgr"], found.get("save@99q"), _thinned(ordered.curve()))


def _thinned(curve: Curve) -> Curve:
    """At every percent of strong calls: enough to draw."""
    shares, usd = [step / 100 for step in range(101)], curve.usd
    dollars = None if usd is None else [interpolated(share, curve.shares, usd) for share in shares]
    return Curve(shares, [curve.quality(share) for share in shares], dollars)


def gain(one: Ordered, other: Ordered, times: int) -> Gain:
    """How much more the first order recovers, over resamples of the prompts that are the same for both."""
    drawn = [lift(one, weights) - lift(other, weights) for weights in resamples(len(one), times, SEED)]
    return Gain(lift(one) - lift(other), percentile(drawn, 2.5), percentile(drawn, 97.5))


def decision_ms(data: Path) -> float:
    """The 95th percentile over prompts to 2,000 characters of one measurement, each the best of three."""
    rows: list[Row] = read_set(data, "ulab_mixed13")[0][:400]
    model = load(fit(labelled(*read_set(data, "zeroeval_gsm")), lambda done: None))
    texts = [ChatRequest(messages=(Message(role="user", content=row.prompt[:2_000]),)).question for row in rows]
    times = sorted(min(timeit.repeat(lambda text=text: model.chance(text), number=1, repeat=3)) for text in texts)  # type: ignore[misc]  # mypy does not infer defaults of lambdas
    return times[len(times) * 95 // 100] * 1e3


def found_in(data: Path, names: Sequence[str], times: int) -> Found:
    """All of it, a set after the other; each is printed when it is done."""
    found = Found()
    for name in names:
        found.sets[name] = one = of_set(data, name, times)
        for how, ranked in one.ranked.items():
            money = "" if ranked.saved is None else f"{100 * ranked.saved:5.1f} %"
            print(f"| {name} | {how} | {ranked.apgr:.3f} [{ranked.low:.3f}, {ranked.high:.3f}] | {money} |", flush=True)
        more = one.over_rules
        print(
            f"| {name} | quality over the rules | {more.value:+.4f} [{more.low:+.4f}, {more.high:+.4f}] | |", flush=True
        )
    found.decision_ms = decision_ms(data)
    return found


def main() -> int:
    """Measures or reads, and says what is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = os.environ.get("ROUTING_DATA")
    parser.add_argument("--data", type=Path, default=there)
    parser.add_argument("--sets", default=",".join(PAIRS))
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was found")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="take what --json kept")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw it there as SVG")
    parser.add_argument("--tables", action="store_true", help="print the tables of docs/routing-quality.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is not kept")
    arguments = parser.parse_args()
    if arguments.source is not None:
        found = msgspec.json.decode(arguments.source.read_bytes(), type=Found)
    elif arguments.data is not None:
        found = found_in(Path(arguments.data), arguments.sets.split(","), arguments.bootstrap)
    else:
        parser.error("no data: name its folder with --data or ROUTING_DATA")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.encode(found))
    if arguments.plot is not None:
        for name, picture in drawn(found).items():
            (arguments.plot / name).write_text(picture, encoding="utf-8")
    if arguments.tables:
        print(*tables(found), sep="\n")
    for how in next(iter(found.sets.values())).ranked:
        values = found.values(how)
        print(f"| mean | {how} | {sum(values) / len(values):.3f}, least {min(values):.3f} | |")
    print(f"difficulty decides in {found.decision_ms:.2f} ms (p95)")
    wrong = list(missed(found))
    for words in wrong:
        print(f"missed: {words}")
    return int(arguments.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
