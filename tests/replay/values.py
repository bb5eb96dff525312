"""Small records and rules for tests of replay."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from muxer_memory import MemorySettings, open_memory

from muxer.budgets import Calendar, FileLimits, lines
from muxer.catalog import Catalog, Model
from muxer.config.settings import FREE_SIGNALS, DefaultsSettings, LimitSettings, RouteSettings
from muxer.expressions import compile_expression
from muxer.money import Price, Rates
from muxer.plans import Rules
from muxer.replay.limits import Clock, Limits
from muxer.replay.run import Story, replay
from muxer.replay.sides import Decided, Side
from muxer.replay.tally import Tally
from muxer.testing import open_context
from muxer.testing.builders import START_S
from muxer.types import Attempt, Record, Usage

SIGNALS = {**FREE_SIGNALS, "code": float, "difficulty": float}
PRICES = {"cheap": 1_000, "dear": 10_000, "dearest": 100_000}
MODELS = {
    name: Model(name=name, provider="p", upstream=f"{name}-1", price=Price(Rates(input=picos, output=2 * picos)))
    for name, picos in PRICES.items()
} | {"unpriced": Model(name="unpriced", provider="p", upstream="unpriced-1")}


def a_route(name: str = "r", *use: str, when: str | None = None, **changes: object) -> RouteSettings:
    return RouteSettings(name=name, use=use or ("cheap",), when=when, **changes)  # type: ignore[arg-type]  # as in YAML


def some_rules(*routes: RouteSettings, limits: Sequence[LimitSettings] = (), zone: str = "UTC") -> Rules:
    return Rules(
        catalog=Catalog(models=MODELS, groups={}, prices="test"),
        routes=routes,
        conditions=tuple(compile_expression(one.when, SIGNALS) if one.when else None for one in routes),
        limits=FileLimits(lines(limits), Calendar(zone)),
        defaults=DefaultsSettings(),
        config="test",
    )


def a_request_of(number: int = 0, model: str = "cheap", **changes: object) -> Record:
    """A finished request of alice to `auto` that cost a thousand tokens in and a hundred out."""
    values: dict[str, object] = {
        "id": f"req_{number:05}",
        "at": START_S + 60.0 * number,
        "api": "openai.chat",
        "state": "done",
        "user": "alice",
        "key": "k",
        "requested_model": "auto",
        "route": "r",
        "signals": {"chars": 50, "tokens": 20, "code": 0.1},
        "estimate_tokens": 20,
        "bound_tokens": 100,
        "model": model,
        "usage": Usage(1_000, 100),
        "attempts": (Attempt(model=model, provider="p", upstream=f"{model}-1", outcome="exact", cost_nanos=9),),
        "ms": 500.0,
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]  # fields by name


async def batches(records: Sequence[Record]) -> AsyncIterator[Sequence[Record]]:
    yield records


async def open_limits(stack: AsyncExitStack) -> Limits:
    clock = Clock()
    context = await stack.enter_async_context(open_context(clock=clock))
    return Limits(await stack.enter_async_context(open_memory(MemorySettings(keep_records=1), context)), clock)


async def replayed(records: Sequence[Record], before: Side | Rules, after: Rules) -> Tally:
    """A replay of rules with limits over records."""
    async with AsyncExitStack() as stack:
        old = Decided(before, (), await open_limits(stack)) if isinstance(before, Rules) else before
        return await replay(batches(records), old, Decided(after, (), await open_limits(stack)), lambda more: None)


def a_story(tally: Tally, **changes: object) -> Story:
    values = {"new": "new.yaml", "old": "old.yaml", "log": "muxer.db", "of": 1, "is_sample": False, "has_limits": True}
    return Story(tally=tally, **{**values, **changes})  # type: ignore[arg-type]  # fields by name


def path_of(folder: Path, text: str, name: str = "new.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path
