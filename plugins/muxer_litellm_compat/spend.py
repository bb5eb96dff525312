"""`/spend/logs`: records as LiteLLM's rows, or their sums by day."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from muxer import InvalidRequest, Record, Store, StoredKey
from muxer_litellm_compat.rows import dollars

MOST_ROWS = 10_000
"""LiteLLM's own bound of an answer."""

_CALL_TYPES: Mapping[str, str] = {
    "openai.chat": "acompletion",
    "openai.completions": "atext_completion",
    "openai.embeddings": "aembedding",
    "openai.responses": "aresponses",
    "anthropic.messages": "anthropic_messages",
}
_BOOLEANS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
_NO_END = float("inf")
_MOST_READ = 2**53
_MOST_DAYS = 3_660


class Query(Struct, frozen=True, kw_only=True):
    """What is asked for. Times are Unix seconds, both included, as LiteLLM has it: `end_date` is its first instant."""

    request_id: str = ""
    api_key: str = ""
    user_id: str = ""
    start_date: date | None = None
    end_date: date | None = None
    summarize: bool = True

    @property
    def is_summary(self) -> bool:
        """Whether sums by day are asked for: they are what LiteLLM gives for a span of days, unless told not to."""
        return self.summarize and self.start_date is not None and self.end_date is not None

    @property
    def start_s(self) -> float:
        """From when on."""
        return 0.0 if self.start_date is None else _midnight(self.start_date)

    @property
    def end_s(self) -> float:
        """Until when."""
        return _NO_END if self.end_date is None else _midnight(self.end_date)


class _Line(Struct, frozen=True):
    """What one key, user and model spent on a day."""

    day: date
    api_key: str
    user: str
    model: str
    nanos: int


def read_query(given: Mapping[str, str]) -> Query:
    """The query of an address. Raises InvalidRequest; a filter nobody heeds would give wrong sums."""
    for name in given:
        if name not in Query.__struct_fields__:
            raise InvalidRequest(f"{name[:64]}: no such filter", param=name[:64])
    summarize = _BOOLEANS.get(given.get("summarize", "true").lower())
    if summarize is None:
        raise InvalidRequest("summarize: write true or false", param="summarize")
    asked = Query(
        request_id=given.get("request_id", ""),
        api_key=given.get("api_key", ""),
        user_id=given.get("user_id", ""),
        start_date=_day(given, "start_date"),
        end_date=_day(given, "end_date"),
        summarize=summarize,
    )
    if asked.is_summary and asked.end_s - asked.start_s > _MOST_DAYS * 86_400:
        raise InvalidRequest(f"end_date: sums are of at most {_MOST_DAYS} days", param="end_date")
    return asked


def _day(given: Mapping[str, str], name: str) -> date | None:
    words = given.get(name)
    if not words:
        return None
    try:
        return datetime.strptime(words, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise InvalidRequest(f"{name}: write a day as 2026-01-31", param=name) from error


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


class Digests:
    """From the name of a key, which records have, to the digest by which LiteLLM's rows know it."""

    def __init__(self, keys: Iterable[StoredKey]) -> None:
        self._by_name: defaultdict[str, list[StoredKey]] = defaultdict(list)
        for key in keys:
            self._by_name[key.name].append(key)

    def of(self, name: str, since_s: float, until_s: float) -> str:
        """The digest of the last key of the store that had the name in that time; else the name, as for a key of
        routing.yaml."""
        for key in reversed(self._by_name.get(name, ())):
            if key.created_at <= until_s and (key.revoked_at is None or key.revoked_at >= since_s):
                return key.digest
        return name


class Logs:
    """The records, for those who may see all, or with `only_user` for that user."""

    def __init__(self, store: Store, keys: Sequence[StoredKey], only_user: str) -> None:
        self._store = store
        self._keys = keys
        self._digests = Digests(keys)
        self._only_user = only_user

    async def rows(self, asked: Query, most: int) -> list[dict[str, object]]:
        """The newest requests that are over, at most so many."""
        found: list[dict[str, object]] = []
        async for record in self._records(asked):
            if len(found) == most:
                break
            found.append(_row(record, self._digest(record)))
        return found

    async def days(self, asked: Query) -> list[dict[str, object]]:
        """Sums by day, the oldest first; after the last day with a request every day to the end has one of nothing."""
        assert asked.end_date is not None
        by_day: defaultdict[date, list[_Line]] = defaultdict(list)
        async for line in self._lines(asked):
            by_day[line.day].append(line)
        found = [_sums(day, by_day[day]) for day in sorted(by_day)]
        after = max(by_day) + timedelta(days=1) if by_day else asked.end_date + timedelta(days=1)
        while after <= asked.end_date:
            found.append({"startTime": after.isoformat(), "spend": 0, "users": {}, "models": {}})
            after += timedelta(days=1)
        return found

    async def _records(self, asked: Query) -> AsyncIterator[Record]:
        where = self._where(asked)
        if where is None:
            return
        records = _one(self._store, asked.request_id) if asked.request_id else None
        async for record in records or self._store.records(asked.start_s, where, _MOST_READ):
            if all(getattr(record, name) == value for name, value in where.items()) and self._fits(record, asked):
                yield record

    def _fits(self, record: Record, asked: Query) -> bool:
        is_in_time = asked.start_s <= record.at <= asked.end_s
        return record.state != "open" and is_in_time and self._is_of(self._digest(record), asked)

    async def _lines(self, asked: Query) -> AsyncIterator[_Line]:
        """What is summed: of one request if it is named, else by the store."""
        if asked.request_id:
            async for record in self._records(asked):
                day = datetime.fromtimestamp(record.at, UTC).date()
                yield _Line(day, self._digest(record), record.user, record.model, record.cost_nanos)
            return
        where = self._where(asked)
        if where is None:
            return
        for found in await self._store.summary(("day", "key", "user", "model"), asked.start_s, where):
            group, day = found.group, date.fromisoformat(found.group["day"])
            begun = _midnight(day)
            digest = self._digests.of(group["key"], begun, begun + 86_400)
            if begun < asked.end_s and self._is_of(digest, asked):
                yield _Line(day, digest, group["user"], group["model"], found.cost_nanos)

    def _where(self, asked: Query) -> dict[str, str] | None:
        """The store's filters; None where nothing can be seen."""
        where = {"user": asked.user_id or self._only_user, "key": self._name(asked.api_key)}
        if self._only_user and where["user"] != self._only_user:
            return None
        return {name: value for name, value in where.items() if value}

    def _name(self, digest: str) -> str:
        return next((key.name for key in self._keys if key.digest == digest), digest)

    def _is_of(self, digest: str, asked: Query) -> bool:
        return not asked.api_key or digest == asked.api_key

    def _digest(self, record: Record) -> str:
        return self._digests.of(record.key, record.at, record.at)


async def _one(store: Store, id: str) -> AsyncIterator[Record]:
    found = await store.record(id)
    if found is not None:
        yield found


async def of_key(store: Store, key: StoredKey) -> int:
    """All a key spent, in nano-dollars, while it had its name; to the day on which it was revoked."""
    lines = await store.summary(("day",), key.created_at, {"key": key.name})
    last = "9999-12-31" if key.revoked_at is None else str(datetime.fromtimestamp(key.revoked_at, UTC).date())
    return sum(line.cost_nanos for line in lines if line.group["day"] <= last)


def group(record: Record) -> str:
    """What LiteLLM calls the model group: the name the caller gave, where it is that of a group; else the model that
    serves, also after a model that was named could not."""
    asked = record.requested_model
    is_model = asked in (record.model, *(attempt.model for attempt in record.attempts))
    was_passed_over = any(excluded.model == asked for excluded in record.excluded)
    if is_model or was_passed_over or asked.partition(":")[0] in ("", "auto"):
        return record.model
    return asked


def fallbacks(record: Record) -> int:
    """How many models failed before the one that answers; an open record has only those that failed."""
    return max(0, len(record.attempts) - (record.state != "open"))


def _sums(day: date, lines: Sequence[_Line]) -> dict[str, object]:
    return {
        **_by((line.api_key, line.nanos) for line in lines),
        "startTime": day.isoformat(),
        "spend": dollars(sum(line.nanos for line in lines)),
        "users": _by((line.user, line.nanos) for line in lines),
        "models": _by((line.model, line.nanos) for line in lines),
    }


def _by(amounts: Iterator[tuple[str, int]]) -> dict[str, float]:
    sums: defaultdict[str, int] = defaultdict(int)
    for name, nanos in amounts:
        sums[name] += nanos
    return {name: dollars(nanos) for name, nanos in sums.items()}


def _row(record: Record, digest: str) -> dict[str, object]:
    """One request as LiteLLM_SpendLogs has it."""
    usage, is_done = record.usage, record.state == "done"
    return {
        "request_id": record.id,
        "litellm_call_id": record.id,
        "call_type": _CALL_TYPES.get(record.api, record.api),
        "api_key": digest,
        "spend": dollars(record.cost_nanos),
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "startTime": _instant(record.at),
        "endTime": _instant(record.at + record.ms / 1000),
        "completionStartTime": _instant(record.at + record.first_byte_ms / 1000) if is_done else None,
        "request_duration_ms": round(record.ms),
        "model": record.answered.upstream if record.answered else record.model,
        "model_id": record.model,
        "model_group": group(record),
        "custom_llm_provider": record.provider,
        "api_base": "",
        "user": record.user,
        "team_id": record.team or None,
        "organization_id": None,
        "end_user": record.end_user or None,
        "requester_ip_address": None,
        "session_id": record.conversation or None,
        "cache_hit": str(is_done and not record.attempts),
        "cache_key": "",
        "request_tags": list(record.tags),
        "messages": {},
        "response": {},
        "proxy_server_request": {},
        "status": "success" if is_done else "failure",
        "metadata": _metadata(record, digest),
    }


def _metadata(record: Record, digest: str) -> dict[str, object]:
    """What LiteLLM keeps beside its columns, as far as we know it, and where the request was sent and why."""
    return {
        "user_api_key": digest,
        "user_api_key_alias": record.key,
        "user_api_key_user_id": record.user,
        "user_api_key_team_id": record.team or None,
        "attempted_retries": 0,
        "attempted_fallbacks": fallbacks(record),
        "error_information": {"error_code": str(record.status), "error_class": record.error} if record.error else None,
        "requested_model": record.requested_model,
        "route": record.route,
        "routing_reason": record.reason,
        "presumed_spend": dollars(record.presumed_nanos),
    }


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
