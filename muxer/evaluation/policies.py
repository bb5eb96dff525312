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
    qualities: list[float] = []
    costs: list[float | None] = []
    for row in rows:
        request = _request(row.prompt)
        measured = measure(request, msgspec.json.encode(request), signals)
        question = Question(
            id=row.id,
            now=0.0,
            caller=_ANYBODY,
            requested="auto",
            measured=measured,
            is_cooling=_never,
            conversation=row.id,
        )
        try:
            model = plan(rules, question).candidates[0].model
        except MuxerError as error:
            raise InvalidRequest(f"prompt {row.id or len(models)}: {error}") from error
        wanted = (names.get(model.name, model.name), names.get(model.name, model.upstream))
        name = next((name for name in wanted if name in row.models), None)
        if name is None:
            raise InvalidRequest(
                f"prompt {row.id or len(models)}: the rules choose {model.name!r}, of which the data has no answer; "
                f"say which of its models plays it: --map {model.name}=NAME"
            )
        models.append(name)
        qualities.append(row.models[name].s)
        costs.append(cost_usd(row.models[name], prices.get(name)))
        advance(1)
    known = [cost for cost in costs if cost is not None]
    usd = sum(known) / len(rows) if len(known) == len(rows) else None
    return Chosen(models, sum(qualities) / len(rows), usd, dict(Counter(models).most_common()))


def _never(model: Model) -> str:
    return ""


def _request(prompt: str) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=prompt),), model="auto")
