"""The row about a request: opened with the decision, completed with what came of it, shown as JSON."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from muxer.catalog import Model
from muxer.estimates import Estimates
from muxer.inbound import Inbound
from muxer.interfaces import Signal
from muxer.money import usd
from muxer.plans import Plan, Question, Rules
from muxer.signals import Measured, kept
from muxer.types import Affinity, Attempt, Caller, Record, RecordState, Usage
from muxer.wire import openai_text

MAX_END_USER = 256  # B38


def new_id(now: Callable[[], float] = time.time) -> str:
    """A request id: sorts by time, and nobody can guess another's."""
    return f"req_{int(now() * 1000):011x}{os.urandom(10).hex()}"


def conversation_of(inbound: Inbound, caller: Caller) -> str:
    """What ties the turns of a conversation together: the caller's own name for it, else how it began."""
    if inbound.conversation:
        return inbound.conversation[:MAX_END_USER]
    began = hashlib.blake2b(caller.key.encode(), digest_size=8)
    for message in inbound.request.messages:
        began.update(message.text.encode("utf-8", "surrogatepass"))
        if message.role == "user":
            break
    return began.hexdigest()


def opening(inbound: Inbound, question: Question, plan: Plan, rules: Rules, signals: Mapping[str, Signal]) -> Record:
    """The record as it is when the hold is taken: all that a decision needs, and no prompt."""
    caller, measured, first = question.caller, question.measured, plan.candidates[0]
    return Record(
        id=question.id,
        at=question.now,
        api=inbound.api,
        state="open",
        user=caller.user,
        key=caller.key,
        team=caller.team,
        tags=caller.tags,
        end_user=(inbound.request.user or "")[:MAX_END_USER],
        conversation=question.conversation,
        branch=plan.branch,
        affinity=question.affinity,
        requested_model=question.requested,
        route=plan.route,
        reason=plan.reason,
        signals=measured.values,
        needs=measured.needs,
        estimate_tokens=measured.estimate_tokens,
        bound_tokens=measured.bound_tokens or 0,
        excluded=plan.excluded,
        features=kept(inbound.request, signals) if plan.learns else {},
        model=first.model.name,
        provider=first.model.provider,
        expected_nanos=first.expected_nanos,
        expected_high_nanos=first.high_nanos,
        config=rules.config,
        prices=rules.catalog.prices,
    )


def reopened(record: Record, caller: Caller, estimates: Estimates, affinity: Affinity) -> Question:
    """The question of a recorded request, so that it can be decided again: the inverse of `opening`. `estimates` are
    what was learned by then, `affinity` is where its conversation is now.

    A model that could not be asked then cannot be asked now; what the record does not say of another is not assumed.
    """
    embeds = record.needs.embeddings
    measured = Measured(
        values={**record.signals},
        needs=record.needs,
        estimate_tokens=record.estimate_tokens,
        # The longest of several inputs is not recorded; it did fit what served them.
        longest_tokens=0 if embeds else record.estimate_tokens,
        bound_tokens=record.bound_tokens or None,
        field="prompt" if record.api == openai_text.API else "messages",
    )
    away = {one.model: one.detail or one.gate for one in record.excluded if one.gate in ("cooling", "unavailable")}
    return Question(
        id=record.id,
        now=record.at,
        caller=caller,
        requested=record.requested_model or "auto",
        measured=measured,
        conversation=record.conversation,
        affinity=affinity,
        estimates=estimates,
        is_cooling=(lambda model: away.get(model.name, "")) if away else _is_well,
    )


def _is_well(_: Model) -> str:
    return ""


class Ending(Struct, frozen=True, kw_only=True):
    """How a request ended."""

    state: RecordState
    status: int
    attempts: tuple[Attempt, ...]
    model: str
    provider: str
    usage: Usage
    ms: float
    first_byte_ms: float
    error: str = ""
    client_gone: bool = False
    notes: dict[str, str] = {}
    saved_nanos: int = 0


def complete(record: Record, ending: Ending) -> Record:
    """The record with its ending; its cost is the sum of its attempts (S8)."""
    return replace(
        record,
        cost_nanos=sum(attempt.cost_nanos for attempt in ending.attempts),
        presumed_nanos=sum(attempt.presumed_nanos for attempt in ending.attempts),
        state=ending.state,
        status=ending.status,
        attempts=ending.attempts,
        model=ending.model,
        provider=ending.provider,
        usage=ending.usage,
        ms=ending.ms,
        first_byte_ms=ending.first_byte_ms,
        error=ending.error,
        client_gone=ending.client_gone,
        notes=ending.notes,
        saved_nanos=ending.saved_nanos,
    )


def as_json(record: Record) -> dict[str, object]:
    """A record as it is shown: dollars as exact decimal strings, times in UTC."""
    fields: dict[str, object] = to_builtins(record)
    fields["at"] = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    usage = record.usage
    del fields["usage"]
    fields["tokens"] = {
        "input": usage.input_tokens,
        "cached_input": usage.cached_input_tokens,
        "cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    for name in ("cost", "presumed", "expected", "expected_high", "saved"):
        fields[f"{name}_usd"] = usd(int(str(fields.pop(f"{name}_nanos"))))
    fields["attempts"] = [attempt_fields(attempt) for attempt in record.attempts]
    return fields


def attempt_fields(attempt: Attempt) -> dict[str, object]:
    """An attempt as it is shown."""
    return {
        "model": attempt.model,
        "provider": attempt.provider,
        "upstream": attempt.upstream,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "cost_usd": usd(attempt.cost_nanos),
        "presumed_usd": usd(attempt.presumed_nanos),
        "ms": attempt.ms,
        **({} if attempt.confidence is None else {"confidence": attempt.confidence}),
        **({"is_check": True} if attempt.is_check else {}),
    }
