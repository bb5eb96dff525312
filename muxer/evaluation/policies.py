"""What is judged: a signal, which gives each prompt a score, or the rules of a file, which give each prompt a model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer.catalog import Model
from muxer.errors import InvalidRequest
from muxer.evaluation.rows import Price, Row, certainty, cost_usd, named
from muxer.interfaces import Signal
from muxer.plans import Plan, Question, Rules
from muxer.routing import plan
from muxer.signals import measure
from muxer.types import Caller, ChatRequest, Message

_ANYBODY = Caller(key="eval", user="eval")


class Chosen(Struct, frozen=True):
    """What rules make of some prompts: the model that answers each, their mean quality and dollars, how often each
    model answers, and whether others were asked before it."""

    models: list[str]
    quality: float
    usd: float | None
    counts: dict[str, int]
    is_cascade: bool


def scores(rows: Sequence[Row], signal: Signal, name: str, advance: Callable[[int], None]) -> list[float]:
    """The value of one signal on each prompt: higher means that the strong model is needed. Raises InvalidRequest for
    a value that is no number."""
    found = []
    for row in rows:
        value = signal.measure(_request(row.prompt))[name]
        if isinstance(value, str):
            raise InvalidRequest(f"signal {name}: {value!r} is no number to rank prompts by")
        found.append(float(value))
        advance(1)
    return found


def choices(
    rows: Sequence[Row],
    rules: Rules,
    signals: Mapping[str, Signal],
    names: Mapping[str, str],
    prices: Mapping[str, Price],
    advance: Callable[[int], None],
) -> Chosen:
    """What answers each prompt by the code that decides live requests, every provider taken to have its key and nothing
    spent: the first candidate, of a cascade the first that is sure enough. `names` maps models of the file to those of
    the rows; else a model is found by its own or its upstream's name. Raises InvalidRequest for a prompt that is
    refused, has no answer by the chosen model, or one of which nobody knows how sure the model was."""
    available = {name: replace(model, unavailable="") for name, model in rules.catalog.models.items()}
    rules = replace(rules, catalog=replace(rules.catalog, models=available))
    asked: list[list[str]] = []
    for number, row in enumerate(rows):
        with named(row, number):
            asked.append(_asked(row, _planned(row, rules, signals), names))
        advance(1)
    models = [names[-1] for names in asked]
    costs = [
        cost_usd(row.models[name], prices.get(name)) for row, names in zip(rows, asked, strict=True) for name in names
    ]
    known = [cost for cost in costs if cost is not None]
    return Chosen(
        models=models,
        quality=sum(row.models[name].s for row, name in zip(rows, models, strict=True)) / len(rows),
        usd=sum(known) / len(rows) if len(known) == len(costs) else None,
        counts=dict(Counter(models).most_common()),
        is_cascade=len(costs) > len(rows),
    )


def _asked(row: Row, planned: Plan, names: Mapping[str, str]) -> list[str]:
    """The models of the row that are asked, of which the last one's answer is given. Raises InvalidRequest."""
    found, left = list[str](), planned.candidates
    while True:
        model = left[0].model
        found.append(_player(row, model, names))
        left = () if planned.cascade is None else planned.cascade.after(model.name, left)
        if planned.cascade is None or not left:
            return found
        if certainty(row, found[-1]) >= planned.cascade.threshold:
            return found


def _planned(row: Row, rules: Rules, signals: Mapping[str, Signal]) -> Plan:
    """Whom the rules would ask. Raises the error of a request that is refused."""
    request = _request(row.prompt)
    question = Question(
        id=row.id,
        now=0.0,
        caller=_ANYBODY,
        requested="auto",
        measured=measure(request, msgspec.json.encode(request), signals),
        is_cooling=lambda model: "",
        conversation=row.id,
    )
    return plan(rules, question)


def _player(row: Row, model: Model, names: Mapping[str, str]) -> str:
    """The model of the row whose answer stands for that of this one. Raises InvalidRequest where there is none."""
    wanted = (names.get(model.name, model.name), names.get(model.name, model.upstream))
    for name in wanted:
        if name in row.models:
            return name
    raise InvalidRequest(
        f"the rules choose {model.name!r}, of which the data has no answer; "
        f"say which of its models plays it: --map {model.name}=NAME"
    )


def _request(prompt: str) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=prompt),), model="auto")
