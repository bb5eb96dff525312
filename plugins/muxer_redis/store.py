"""The store over the scripts: every method is one call."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from muxer import (
    KEYED_S,
    Attempt,
    BudgetClaim,
    Granted,
    HoldChoice,
    KeyedRequest,
    Quota,
    QuotaStanding,
    Record,
    Refused,
    Standing,
    StoredKey,
    StoreUnavailable,
    Summary,
)
from muxer_redis import keys as key_rows
from muxer_redis import records, replies, totals
from muxer_redis.calls import Calls
from muxer_redis.owners import Owner

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeyedRequest).decode


class RedisStore:
    """A store that any number of replicas share."""

    def __init__(self, calls: Calls, owner: Owner, keep_s: int, clock: Callable[[], str], journal: Path) -> None:
        self.journal = journal
        self.on_lost = owner.memory.on_lost
        self._calls = calls
        self._owner = owner
        self._keep_s = str(keep_s)
        self._clock = clock

    async def hold(self, opening: Record, choices: Sequence[HoldChoice]) -> Granted | Refused:
        """See Store."""
        self._refuse_in_trouble()
        reply = await self._calls.run(
            "hold",
            self._clock(),
            self._owner.name,
            opening.id,
            repr(opening.at),
            opening.user,
            records.encode(opening),
            replies.pack(replies.packed(choices)),
            self._keep_s,
            self._owner.memory.stamp,
        )
        return self._held(reply, choices)

    async def extend(self, id: str, leg: int, choice: HoldChoice, ended: Attempt | None) -> Granted | Refused:
        """See Store."""
        self._refuse_in_trouble()
        reply = await self._calls.run(
            "extend",
            self._clock(),
            self._owner.name,
            id,
            str(leg),
            *(("", "") if ended is None else (str(ended.cost_nanos), str(ended.presumed_nanos))),
            replies.pack(replies.packed([choice], leg)[0]),
            self._owner.memory.stamp,
            str(-1 if ended is None else replies.tokens(ended)),
        )
        return self._held(reply, [choice])

    async def settle(self, record: Record) -> None:
        """See Store."""
        used = -1 if record.presumed_nanos else record.usage.input_tokens + record.usage.output_tokens
        reply = await self._calls.run(
            "settle",
            self._clock(),
            record.id,
            records.encode(record),
            record.state,
            str(record.cost_nanos),
            str(record.presumed_nanos),
            str(used),
            replies.pack(replies.ended(record)),
            self._keep_s,
            self._owner.memory.stamp,
            *totals.of(record),
        )
        if reply == -1:
            raise self._owner.memory.doubt()

    async def standings(self, claims: Sequence[BudgetClaim]) -> Sequence[Standing]:
        """See Store."""
        asked = replies.pack([[replies.packed_claim(claim) for claim in claims], []])
        return replies.stands(await self._calls.run("stand", self._clock(), asked), claims, ())[0]

    async def quotas(self, quotas: Sequence[Quota]) -> Sequence[QuotaStanding]:
        """See Store."""
        asked = replies.pack([[], [replies.packed_quota(quota) for quota in quotas]])
        return replies.stands(await self._calls.run("stand", self._clock(), asked), (), quotas)[1]

    async def summary(self, by: Sequence[str], since_s: float, where: Mapping[str, str]) -> list[Summary]:
        """See Store. Whole days come from their totals; only of the day in which `since_s` is are records read."""
        records.check(where, by)
        return await totals.summary(self._calls, self._clock(), by, since_s, where)

    async def record(self, id: str) -> Record | None:
        """See Store."""
        rows = msgspec.convert(await self._calls.run("row", self._clock(), id), list[records.Row])
        return rows[0].record() if rows else None

    async def records(self, since_s: float, where: Mapping[str, str], limit: int) -> AsyncIterator[Record]:
        """See Store."""
        records.check(where)
        left = limit
        if left <= 0:
            return
        async for row in records.read(self._calls, self._clock(), since_s, where, limit):
            yield row.record()
            left -= 1
            if left == 0:
                return

    async def presumed(self, limit: int) -> list[Record]:
        """See Resolves."""
        reply = await self._calls.run("page", self._clock(), "presumed", "", "-inf", str(limit), "")
        return [row.record() for row in msgspec.convert(reply, list[records.Row]) if row.json]

    async def resolve(self, id: str, cost_nanos: int) -> bool:
        """See Resolves."""
        return bool(await self._calls.run("resolve", self._clock(), id, str(cost_nanos), self._keep_s))

    async def feedback(
        self, id: str, score: float, user: str | None = None, quotas: Sequence[Quota] = ()
    ) -> bool | Refused:
        """See KeepsFeedback."""
        asked = replies.pack([replies.packed_quota(quota) for quota in quotas])
        whose, stamp = "" if user is None else f"={user}", self._owner.memory.stamp
        reply = await self._calls.run("feedback", self._clock(), id, repr(score), whose, asked, stamp)
        found = replies.scored(reply, quotas)
        if found is None:
            raise self._owner.memory.doubt()
        return found

    async def add_key(self, key: StoredKey) -> bool:
        """See KeepsKeys."""
        return bool(await self._calls.run("add_key", self._clock(), key.id, key.digest, key.name, key_rows.encode(key)))

    async def key(self, digest: str) -> StoredKey | None:
        """See KeepsKeys."""
        found = key_rows.read(await self._calls.run("key", self._clock(), digest))
        return found[0] if found else None

    async def keys(self) -> list[StoredKey]:
        """See KeepsKeys."""
        return await key_rows.every(self._calls, self._clock())

    async def has_keys(self) -> bool:
        """See KeepsKeys."""
        return bool(await self._calls.run("has_keys", self._clock()))

    async def revoke_key(self, id: str, at: float) -> StoredKey | None:
        """See KeepsKeys."""
        found = key_rows.read(await self._calls.run("revoke_key", self._clock(), id, repr(at)))
        return found[0] if found else None

    async def first_of(self, keyed: KeyedRequest, instead_of: str = "") -> KeyedRequest:
        """See RemembersKeyed."""
        reply = await self._calls.run(
            "first_of",
            self._clock(),
            keyed.digest,
            keyed.id,
            repr(keyed.at),
            _encode(keyed),
            instead_of,
            str(KEYED_S),
        )
        return _decode(msgspec.convert(reply, bytes))

    async def forget_keyed(self, keyed: KeyedRequest) -> None:
        """See RemembersKeyed."""
        await self._calls.run("forget_keyed", self._clock(), keyed.digest, keyed.id)

    async def held(self) -> tuple[int, int]:
        """See Store. Raises StoreUnavailable also while nothing may be held, so that whoever asks sees it (F12)."""
        self._refuse_in_trouble()
        return msgspec.convert(await self._calls.run("sums", self._clock()), tuple[int, int])

    def _held(self, reply: object, choices: Sequence[HoldChoice]) -> Granted | Refused:
        found = replies.held(reply, choices)
        if found is None:
            raise self._owner.memory.doubt()
        return found

    def _refuse_in_trouble(self) -> None:
        if self._owner.trouble:
            raise StoreUnavailable(self._owner.trouble)
