"""Holding and settling as SQL, run by the writer inside its transaction: each function is all or nothing."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muxer import Attempt, BudgetClaim, Granted, HoldChoice, Record, Refusal, Refused, Standing, Window, most_here
from muxer_sqlite import quotas
from muxer_sqlite.rows import NAMES


class Taken(Struct, frozen=True, array_like=True):
    """What one leg took from one counter."""

    account: str
    start: int
    nanos: int


class Leg(Struct, frozen=True, array_like=True):
    """One held attempt: which choice it was given, how much, from where; once ended, what of it is presumed."""

    choice: int
    granted: int
    taken: tuple[Taken, ...]
    ended: bool = False
    presumed: int = 0

    @property
    def unknown(self) -> int:
        """What it may have cost, as long as nobody knows."""
        return self.presumed if self.ended else self.granted


class Counter(Struct, frozen=True):
    """What one account has in one window, in nano-dollars."""

    spent: int = 0
    held: int = 0
    presumed: int = 0

    @property
    def used(self) -> int:
        """All that counts against a limit (I1)."""
        return self.spent + self.held + self.presumed


_encode = msgspec.json.Encoder().encode
decode_drawn = msgspec.json.Decoder(tuple[quotas.Drawn, ...]).decode
decode_legs = msgspec.json.Decoder(tuple[Leg, ...]).decode
_INSERT = (
    f"INSERT INTO requests ({', '.join(NAMES)}, owner, held_nanos, holds, drawn) "
    f"VALUES ({', '.join(':' + name for name in NAMES)}, :owner, :held_nanos, :holds, :drawn)"
)
_COMPLETE = (  # a score may have come before
    f"UPDATE requests SET {', '.join(f'{name} = :{name}' for name in NAMES if name not in ('id', 'feedback'))}, "
    "held_nanos = 0, holds = :holds, drawn = NULL WHERE id = :id"
)
_ADD = (
    "INSERT INTO counters (account, start, spent, held, presumed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "spent = spent + excluded.spent, held = held + excluded.held, presumed = presumed + excluded.presumed"
)


def hold(
    db: sqlite3.Connection, now: float, owner: str, opening: Mapping[str, Any], choices: Sequence[HoldChoice]
) -> Granted | Refused:
    """Takes the first choice that fits and writes the open record, given as a row; the same id again gets the same
    answer, whatever is offered then (S5)."""
    known = db.execute("SELECT holds FROM requests WHERE id = ?", (opening["id"],)).fetchone()
    if known is not None:
        first = decode_legs(known[0])[0] if known[0] else Leg(0, 0, ())
        return _granted(db, now, first, choices[min(first.choice, len(choices) - 1)])
    refusals: list[Refusal] = []
    for index, choice in enumerate(choices):
        drawn = quotas.take(db, now, choice.model, choice.quotas)
        if isinstance(drawn, Refusal):
            refusals.append(drawn)
            continue
        taken = _take(db, now, choice)
        if isinstance(taken, Refusal):
            refusals.append(taken)
            continue
        quotas.put(db, now, drawn)
        leg = Leg(index, *taken)
        row = {
            **opening,
            "owner": owner,
            "held_nanos": leg.granted,
            "holds": _encode((leg,)).decode(),
            "drawn": _encode(drawn).decode(),
        }
        db.execute(_INSERT, row)
        return _granted(db, now, leg, choice)
    return Refused(refusals=tuple(refusals))


def _granted(db: sqlite3.Connection, now: float, leg: Leg, choice: HoldChoice) -> Granted:
    return Granted(
        choice=leg.choice,
        granted_nanos=leg.granted,
        budgets=tuple(standing(db, now, claim) for claim in choice.claims),
        quotas=tuple(quotas.stand(db, now, quota) for quota in choice.quotas),
    )


def extend(
    db: sqlite3.Connection, now: float, owner: str, id: str, leg: int, choice: HoldChoice, ended: Attempt | None
) -> Granted | Refused:
    """Settles leg `leg - 1`, if it has ended, and holds leg `leg`; a repeat gets the same answer (S7)."""
    legs = _open_legs(db, id)
    if leg > len(legs):
        return Refused(refusals=())  # settled already, or never held: nothing more may be sent for it (I7)
    # Whoever extends it is alive: should that process die, its sweep must find this too.
    db.execute("UPDATE requests SET owner = ? WHERE id = ? AND owner != ?", (owner, id, owner))
    if leg < len(legs):
        return Granted(choice=0, granted_nanos=legs[leg].granted)
    last, cost, presumed = legs[leg - 1], 0, 0
    if ended is not None and not last.ended:
        cost, presumed = ended.cost_nanos, ended.presumed_nanos
        _end(db, last, cost, presumed)
        legs = (*legs[:-1], replace(last, ended=True, presumed=presumed))
    taken = _take(db, now, choice)
    if not isinstance(taken, Refusal):
        legs = (*legs, Leg(0, *taken))
    db.execute(
        "UPDATE requests SET holds = ?, held_nanos = ?, presumed_nanos = presumed_nanos + ?, "
        "cost_nanos = cost_nanos + ? WHERE id = ?",
        (_encode(legs).decode(), _held(legs), presumed, cost, id),
    )
    if isinstance(taken, Refusal):
        return Refused(refusals=(taken,))
    return Granted(choice=0, granted_nanos=taken[0])


def settle(db: sqlite3.Connection, now: float, record: Record, row: Mapping[str, Any]) -> None:
    """Replaces every leg's hold by its attempt's cost and completes the row; a settled row stays as it is (I6)."""
    legs = _open_legs(db, record.id)
    if not legs:
        return
    ended: list[Leg] = []
    for number, leg in enumerate(legs):
        if leg.ended:
            ended.append(leg)
            continue
        attempt = record.attempts[number] if number < len(record.attempts) else None
        cost, presumed = (attempt.cost_nanos, attempt.presumed_nanos) if attempt else (0, 0)
        _end(db, leg, cost, presumed)
        ended.append(replace(leg, ended=True, presumed=presumed))
    used = record.usage.input_tokens + record.usage.output_tokens
    quotas.end(db, now, _drawn(db, record.id), None if record.presumed_nanos else used)
    # The legs are kept for as long as something is presumed, so that it can be resolved.
    holds = _encode(ended).decode() if record.presumed_nanos else None
    db.execute(_COMPLETE, {**row, "holds": holds})


def holding(db: sqlite3.Connection) -> list[str]:
    """The names of the processes that have open requests."""
    return [owner for (owner,) in db.execute("SELECT DISTINCT owner FROM requests WHERE state = 'open'")]


def interrupt(db: sqlite3.Connection, now: float, owner: str) -> int:
    """Moves what a dead process held to presumed, where it still counts (S10), and frees its slots (I11); returns how
    many requests that were."""
    rows = db.execute("SELECT id, holds FROM requests WHERE owner = ? AND state = 'open'", (owner,)).fetchall()
    for id, holds in rows:
        _move(db, id, decode_legs(holds), "interrupted")
        quotas.end(db, now, _drawn(db, id), None)
        db.execute("UPDATE requests SET drawn = NULL WHERE id = ?", (id,))
    return len(rows)


def _drawn(db: sqlite3.Connection, id: str) -> tuple[quotas.Drawn, ...]:
    (drawn,) = db.execute("SELECT drawn FROM requests WHERE id = ?", (id,)).fetchone()
    return decode_drawn(drawn) if drawn else ()


def _move(db: sqlite3.Connection, id: str, legs: Sequence[Leg], state: str) -> None:
    """Makes an open request interrupted, its holds presumed; or open again, when its process was only thought dead."""
    sign = 1 if state == "interrupted" else -1
    for taken in (taken for leg in legs if not leg.ended for taken in leg.taken):
        db.execute(_ADD, (taken.account, taken.start, 0, -sign * taken.nanos, sign * taken.nanos))
    moved = _held(legs)
    db.execute(
        "UPDATE requests SET state = ?, held_nanos = ?, presumed_nanos = presumed_nanos + ? WHERE id = ?",
        (state, 0 if sign == 1 else moved, sign * moved, id),
    )


def _open_legs(db: sqlite3.Connection, id: str) -> tuple[Leg, ...]:
    """The legs of a request that is not settled, whose holds count as held from here on; none when it is settled."""
    found = db.execute("SELECT state, holds FROM requests WHERE id = ?", (id,)).fetchone()
    if found is None or found[0] not in ("open", "interrupted") or found[1] is None:
        return ()
    legs = decode_legs(found[1])
    if found[0] == "interrupted":
        _move(db, id, legs, "open")
    return legs


def _held(legs: Sequence[Leg]) -> int:
    return sum(leg.granted for leg in legs if not leg.ended)


def resolve(db: sqlite3.Connection, id: str, cost_nanos: int) -> bool:
    """Replaces what is presumed for a request by what it cost; False when nothing is."""
    found = db.execute(
        "SELECT holds FROM requests WHERE id = ? AND state != 'open' AND holds IS NOT NULL", (id,)
    ).fetchone()
    unknown = [leg for leg in decode_legs(found[0]) if leg.unknown] if found else []
    if not unknown:
        return False
    bound = sum(leg.unknown for leg in unknown)
    at: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for leg in unknown:
        for one in leg.taken:
            at[one.account, one.start].append((leg.unknown, leg.presumed if leg.ended else one.nanos))
    for account, amounts in at.items():
        here, presumed = map(sum, zip(*amounts, strict=True))
        db.execute(_ADD, (*account, most_here(cost_nanos, here, bound), 0, -presumed))
    db.execute(
        "UPDATE requests SET holds = NULL, presumed_nanos = 0, cost_nanos = cost_nanos + ? WHERE id = ?",
        (cost_nanos, id),
    )
    return True


def standing(db: sqlite3.Connection, now: float, claim: BudgetClaim) -> Standing:
    """How the limit behind a claim stands now."""
    window = _window(claim, now)
    return _standing(claim, window, _counter(db, _account(claim, window), window.start_s))


def _take(db: sqlite3.Connection, now: float, choice: HoldChoice) -> tuple[int, tuple[Taken, ...]] | Refusal:
    """Checks all claims of a choice, then takes from all; checks nothing twice and changes nothing when refused."""
    found: list[tuple[BudgetClaim, Window, Counter]] = []
    for claim in choice.claims:
        window = _window(claim, now)
        found.append((claim, window, _counter(db, _account(claim, window), window.start_s)))
    granted = choice.bound_nanos
    for claim, window, counter in found:
        if claim.limit_nanos is None:
            continue
        room = claim.limit_nanos - counter.used
        least = choice.expected_nanos if claim.soft else choice.floor_nanos
        # A request that costs nothing passes even where a limit was lowered below its use (S19, S20).
        if least > 0 and least > room:
            return Refusal(model=choice.model, standing=_standing(claim, window, counter), asked_nanos=least)
        if not claim.soft and choice.bound_nanos > 0:
            granted = min(granted, max(room, choice.floor_nanos))
    amounts: dict[tuple[str, int], int] = {}
    for claim, window, _ in found:
        # Several limits may count the same money: it is taken once, as the hardest of them wants it.
        key, nanos = (_account(claim, window), window.start_s), choice.expected_nanos if claim.soft else granted
        amounts[key] = max(nanos, amounts.get(key, 0))
    taken = tuple(Taken(account, start, nanos) for (account, start), nanos in amounts.items())
    for one in taken:
        db.execute(_ADD, (one.account, one.start, 0, one.nanos, 0))
    return granted, taken


def _end(db: sqlite3.Connection, leg: Leg, cost: int, presumed: int) -> None:
    for one in leg.taken:
        db.execute(_ADD, (one.account, one.start, cost, -one.nanos, presumed))


def _counter(db: sqlite3.Connection, account: str, start: int) -> Counter:
    query = "SELECT spent, held, presumed FROM counters WHERE account = ? AND start = ?"
    found = db.execute(query, (account, start)).fetchone()
    return Counter(*found) if found else Counter()


def _account(claim: BudgetClaim, window: Window) -> str:
    return f"{claim.account}:{window.name}"


def _window(claim: BudgetClaim, now: float) -> Window:
    """The window in force at the store's clock; past the last one offered, that one (S14)."""
    return next((w for w in claim.windows if now < w.end_s or w.end_s == 0), claim.windows[-1])


def _standing(claim: BudgetClaim, window: Window, counter: Counter) -> Standing:
    return Standing(
        limit=claim.limit,
        per=claim.per,
        subject=claim.subject,
        window=window.name,
        limit_nanos=claim.limit_nanos,
        spent_nanos=counter.spent,
        held_nanos=counter.held,
        presumed_nanos=counter.presumed,
        resets_at_s=window.end_s,
    )
