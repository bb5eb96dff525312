"""The two sides of a replay: what the records say was decided, and what a file decides."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Protocol

from msgspec.structs import replace

from muxer.catalog import Model
from muxer.conversations import Conversations
from muxer.errors import MuxerError
from muxer.estimates import Estimates, Samples
from muxer.keyring import Known
from muxer.learner import LATEST
from muxer.plans import Candidate, Plan, Rules
from muxer.records import reopened
from muxer.replay.limits import Limits
from muxer.replay.outcomes import Outcome
from muxer.replay.stages import climbed, would_climb
from muxer.routing import plan
from muxer.types import Affinity, Attempt, Caller, Record

_CALLERS = 10_000
_NOBODY = Caller(key="", user="")


class Side(Protocol):
    """One way to decide a request."""

    async def outcome(self, record: Record) -> Outcome:
        """What becomes of it. Records come in the order in which they began."""


class Recorded:
    """What the records say: the model asked first, in a cascade the one that answered and all that were judged before;
    at the prices of `rules`; a model that is not in them at what it was billed."""

    def __init__(self, rules: Rules) -> None:
        self._models = rules.catalog.models

    async def outcome(self, record: Record) -> Outcome:
        """See Side."""
        if record.confidence is not None:
            return climbed(record, self._models)
        first = record.attempts[0] if record.attempts else None
        name, upstream = (first.model, first.upstream) if first else (record.model, "")
        cost = self._cost(record, first, self._models.get(name))
        if cost is None:
            return Outcome(record.route, name, upstream, unknown=f"the price of {name}")
        return Outcome(record.route, name, upstream, cost)

    def _cost(self, record: Record, first: Attempt | None, model: Model | None) -> int | None:
        if model is not None and (first is None or model.upstream == first.upstream):
            return model.price.cost_nanos(record.usage) if model.price else None
        return first.cost_nanos if first is not None and first.outcome == "exact" else None


class Past:
    """What could be learned from the requests before: as in a proxy, from the latest, and anew after every so many."""

    def __init__(self, most: int = LATEST) -> None:
        self._most = most
        self._samples = Samples()
        self._heard = 0
        self._until_learned = 1
        self.estimates = Estimates()

    def add(self, record: Record) -> None:
        """A request is over, by all sides."""
        self._samples.add(record)
        self._heard += 1
        self._until_learned -= 1
        if self._until_learned:
            return
        self.estimates = self._samples.estimates()
        if self._heard == self._most:
            self._samples, self._heard = Samples(), 0
        self._until_learned = min(self._heard or self._most, self._most - self._heard)


class _Astray:
    """The conversations that are on another model than the one they were on: so a sticky route keeps them there."""

    def __init__(self) -> None:
        self._at = 0.0
        self._turns = Conversations(lambda: self._at)

    def affinity(self, record: Record) -> Affinity:
        """Where the conversation is by this side; where that is where it was, as recorded."""
        if not len(self._turns):
            return record.affinity
        self._at = record.at
        here = self._turns.affinity(record.key, record.user, record.conversation)
        return here if here.model else record.affinity

    def went(self, record: Record, chosen: Candidate, *, is_sticky: bool) -> None:
        """A turn is answered."""
        if is_sticky and chosen.model.name != record.model:
            self._at = record.at + record.ms / 1000
            # How much that model would have found of the prompt, nobody measured: what was expected.
            cached, written = chosen.likely.cached_input_tokens, chosen.likely.cache_write_tokens
            usage = replace(record.usage, cached_input_tokens=cached, cache_write_tokens=written)
            self._turns.remember(replace(record, model=chosen.model.name, usage=usage))
        elif is_sticky and len(self._turns):
            self._turns.forget(record.key, record.user, record.conversation)


class Decided:
    """What the rules of a file decide, by the code that decides live requests. Every provider is taken to have its key.

    `keys` are those of the file and of the store, for the models and limits of a key; of a key that is in neither only
    what the record says is known. Without `limits` none refuses. What is likely is what `past` has learned so far.
    A conversation that these rules took to another model is there for its later turns.
    """

    def __init__(self, rules: Rules, keys: Iterable[Known], limits: Limits | None, past: "Past | None" = None) -> None:
        available = {name: replace(model, unavailable="") for name, model in rules.catalog.models.items()}
        self.rules = replace(rules, catalog=replace(rules.catalog, models=available))
        self._keys: Mapping[str, Caller] = {key.caller.key: key.caller for key in keys}
        self._limits = limits
        self._past = past or Past()
        self._astray = _Astray()
        self._caller = lru_cache(maxsize=_CALLERS)(self._found)
        self._names = {name for rule in rules.conditions if rule is not None for name in rule.names}

    def plan(self, record: Record) -> Plan:
        """The decision alone. Raises MuxerError, and KeyError for a signal that was not recorded."""
        caller = self._caller(record.key, record.user, record.team, record.tags)
        question = reopened(record, caller, self._past.estimates, self._astray.affinity(record))
        return plan(self.rules, question)

    async def outcome(self, record: Record) -> Outcome:
        """See Side."""
        try:
            decided = self.plan(record)
        except KeyError as error:
            if error.args[0] not in self._names:
                raise
            return Outcome(unknown=f"the signal {error.args[0]}")
        except MuxerError as error:
            return Outcome(refused=error.code)
        held = 0 if self._limits is None else await self._limits.hold(record, decided.offered)
        if isinstance(held, str):
            return Outcome(decided.route, refused=held)
        if decided.cascade is not None:
            return would_climb(record, decided, decided.cascade, decided.candidates[held:])
        self._astray.went(record, decided.candidates[held], is_sticky=decided.is_sticky)
        chosen = decided.candidates[held].model
        if chosen.price is None:
            return Outcome(decided.route, chosen.name, chosen.upstream, unknown=f"the price of {chosen.name}")
        cost = chosen.price.cost_nanos(record.usage)
        return Outcome(decided.route, chosen.name, chosen.upstream, cost)

    def _found(self, key: str, user: str, team: str, tags: tuple[str, ...]) -> Caller:
        known = self._keys.get(key, _NOBODY)
        return Caller(key=key, user=user, team=team, tags=tags, models=known.models, limits=known.limits)
