"""What is judged: a signal, which gives each prompt a score, or the rules of a file, which give each prompt a model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer.catalog import Model
from muxer.errors import InvalidRequest, MuxerError
from muxer.evaluation.rows import Price, Row, cost_usd
from muxer.interfaces import Signal
from muxer.plans import Question, Rules
from muxer.routing import plan
from muxer.signals import measure
from muxer.types import Caller, ChatRequest, Message

_ANYBODY = Caller(key="eval", user="eval")


class Chosen(Struct, frozen=True):
    """What rules make of some prompts: the model of each, their mean quality and dollars, and how often each model."""

    models: list[str]
    quality: float
    usd: float | None
    counts: dict[str, int]


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
    """The first candidate of each prompt by the code that decides live requests, every provider taken to have its key
    and nothing spent. `names` maps models of the file to those of the rows; else a model is found by its own or its
    upstream's name. Raises InvalidRequest for a prompt that is refused or has no answer by the chosen model."""
    available = {name: replace(model, unavailable="") for name, model in rules.catalog.models.items()}
    rules = replace(rules, catalog=replace(rules.catalog, models=available))
    models: list[str] = []
    for number, row in enumerate(rows):
        try:
            models.append(_player(row, _first(row, rules, signals), names))
        except MuxerError as error:
            raise InvalidRequest(f"prompt {row.id or number}: {error}") from error
        advance(1)
    answers = [row.models[name] for row, name in zip(rows, models, strict=True)]
    costs = [cost_usd(cell, prices.get(name)) for cell, name in zip(answers, models, strict=True)]
    known = [cost for cost in costs if cost is not None]
    return Chosen(
        models=models,
        quality=sum(cell.s for cell in answers) / len(rows),
        usd=sum(known) / len(rows) if len(known) == len(rows) else None,
        counts=dict(Counter(models).most_common()),
    )


def _first(row: Row, rules: Rules, signals: Mapping[str, Signal]) -> Model:
    """The model that is asked first. Raises the error of a request that is refused."""
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
    return plan(rules, question).candidates[0].model


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
