"""Holding and settling, run by the writer inside its transaction: each function is all or nothing."""

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from muxer import (
    Attempt,
    BudgetClaim,
    Granted,
    HoldChoice,
    Record,
    Refusal,
    Refused,
    Standing,
    Window,
    drawn,
    most_here,
)
from muxer_sqlite.book import Book, Counter, Open
from muxer_sqlite.legs import Leg, Taken, decode_drawn, decode_legs, encode
from muxer_sqlite.rows import KEPT, NAMES, Row

_INSERT = (
    f"INSERT INTO requests ({', '.join(NAMES)}, owner, held_nanos, holds, drawn) "
    f"VALUES ({', '.join('?' * len(NAMES))}, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_CHANGING = NAMES[len(KEPT) :]
_COMPLETE = (
    f"UPDATE requests SET {', '.join(f'{name} = ?' for name in _CHANGING)}, "
    "held_nanos = 0, holds = ?, drawn = NULL WHERE id = ?"
)


def hold(book: Book, now: float, owner: str, opening: Row, choices: Sequence[HoldChoice]) -> Granted | Refused:
    """Takes the first choice that fits and writes the open record, given as a row; the same id again gets the same
    answer, whatever is offered then (S5)."""
    refusals: list[Refusal] = []
    for index, choice in enumerate(choices):
        fitting = _allowed(book, now, choice)
        if isinstance(fitting, Refusal):
            refusals.append(fitting)
            continue
        leg = Leg(index, *fitting)
        taken = drawn(choice.quotas)
        held = (owner, leg.granted, encode((leg,)).decode(), encode(taken).decode())
        if not book.execute(_INSERT, opening + held).rowcount:
            break  # it is known
        _take(book, leg)
        book.quotas.take(taken, now)
        book.requests[opening[0]] = Open((leg,), taken)
        return _granted(book, now, leg, choice)
    return _answered(book, now, opening[0], choices) or Refused(refusals=tuple(refusals))


def _answered(book: Book, now: float, id: str, choices: Sequence[HoldChoice]) -> Granted | None:
    """What a hold of this id was answered before; None where there was none."""
    known = book.execute("SELECT holds FROM requests WHERE id = ?", (id,)).fetchone()
    if known is None:
        return None
    first = decode_legs(known[0])[0] if known[0] else Leg(0, 0, ())
    return _granted(book, now, first, choices[min(first.choice, len(choices) - 1)])


def _granted(book: Book, now: float, leg: Leg, choice: HoldChoice) -> Granted:
    return Granted(
        choice=leg.choice,
        granted_nanos=leg.granted,
        budgets=tuple(standing(book, now, claim) for claim in choice.claims),
        quotas=tuple(book.quotas.stand(quota, now) for quota in choice.quotas),
    )


def extend(
    book: Book, now: float, owner: str, id: str, leg: int, choice: HoldChoice, ended: Attempt | None
) -> Granted | Refused:
    """Settles leg `leg - 1`, if it has ended, and holds leg `leg`; a repeat gets the same answer (S7)."""
    known = _open(book, id)
    if known is None or leg > len(known.legs):
        return Refused(refusals=())  # settled already, or never held: nothing more may be sent for it (I7)
    legs = known.legs
    # Whoever extends it is alive: should that process die, its sweep must find this too.
    book.execute("UPDATE requests SET owner = ? WHERE id = ? AND owner != ?", (owner, id, owner))
    if leg < len(legs):
        return Granted(choice=0, granted_nanos=legs[leg].granted)
    last, taken, cost, presumed = legs[leg - 1], known.drawn, 0, 0
    if ended is not None and not last.ended:
        cost, presumed = ended.cost_nanos, ended.presumed_nanos
        _end(book, last, cost, presumed)
        legs = (*legs[:-1], replace(last, ended=True, presumed=presumed))
        taken = book.quotas.end_leg(taken, leg - 1, ended, now)
    fitting = _allowed(book, now, choice)
    if not isinstance(fitting, Refusal):
        legs = (*legs, Leg(0, *fitting))
        _take(book, legs[-1])
        more = drawn(choice.quotas, leg)
        book.quotas.take(more, now)
        taken += more
    book.execute(
        "UPDATE requests SET holds = ?, drawn = ?, held_nanos = ?, presumed_nanos = presumed_nanos + ?, "
        "cost_nanos = cost_nanos + ? WHERE id = ?",
        (encode(legs).decode(), encode(taken).decode(), _held(legs), presumed, cost, id),
    )
    book.requests[id] = Open(legs, taken)
    if isinstance(fitting, Refusal):
        return Refused(refusals=(fitting,))
    return Granted(choice=0, granted_nanos=fitting[0])


def settle(book: Book, now: float, record: Record, row: Row) -> None:
    """Replaces every leg's hold by its attempt's cost and completes the row; a settled row stays as it is (I6)."""
    known = _open(book, record.id)
    if known is None:
        return
    ended: list[Leg] = []
    for number, leg in enumerate(known.legs):
        if leg.ended:
            ended.append(leg)
            continue
        attempt = record.attempts[number] if number < len(record.attempts) else None
        cost, presumed = (attempt.cost_nanos, attempt.presumed_nanos) if attempt else (0, 0)
        _end(book, leg, cost, presumed)
        ended.append(replace(leg, ended=True, presumed=presumed))
    book.quotas.settle(known.drawn, record, now)
    # The legs are kept for as long as something is presumed, so that it can be resolved.
    holds = encode(ended).decode() if record.presumed_nanos else None
    book.execute(_COMPLETE, (*row[len(KEPT) :], holds, record.id))
    book.requests.pop(record.id, None)


def holding(book: Book) -> list[str]:
    """The names of the processes that have open requests."""
    return [owner for (owner,) in book.execute("SELECT DISTINCT owner FROM requests WHERE state = 'open'")]


def interrupt(book: Book, now: float, owner: str) -> int:
    """Moves what a dead process held to presumed, where it still counts (S10), and frees its slots (I11); returns how
    many requests that were."""
    query = "SELECT id, holds, drawn FROM requests WHERE owner = ? AND state = 'open'"
    rows = book.execute(query, (owner,)).fetchall()
    for id, holds, taken in rows:
        _move(book, id, decode_legs(holds), "interrupted")
        book.quotas.end(decode_drawn(taken) if taken else (), None, now)
        book.execute("UPDATE requests SET drawn = NULL WHERE id = ?", (id,))
        book.requests.pop(id, None)
    return len(rows)


def _move(book: Book, id: str, legs: Sequence[Leg], state: str) -> None:
    """Makes an open request interrupted, its holds presumed; or open again, when its process was only thought dead."""
    sign = 1 if state == "interrupted" else -1
    for taken in (taken for leg in legs if not leg.ended for taken in leg.taken):
        book.add(taken.account, taken.start, 0, -sign * taken.nanos, sign * taken.nanos)
    moved = _held(legs)
    book.execute(
        "UPDATE requests SET state = ?, held_nanos = ?, presumed_nanos = presumed_nanos + ? WHERE id = ?",
        (state, 0 if sign == 1 else moved, sign * moved, id),
    )


def _open(book: Book, id: str) -> Open | None:
    """What a request that is not settled holds, which counts as held from here on; None when it is settled."""
    known = book.requests.get(id)
    if known is not None:
        return known
    found = book.execute("SELECT state, holds, drawn FROM requests WHERE id = ?", (id,)).fetchone()
    if found is None or found[0] not in ("open", "interrupted") or found[1] is None:
        return None
    state, holds, drawn = found
    legs = decode_legs(holds)
    if state == "interrupted":
        _move(book, id, legs, "open")
    return Open(legs, decode_drawn(drawn) if drawn else ())


def _held(legs: Sequence[Leg]) -> int:
    return sum(leg.granted for leg in legs if not leg.ended)


def resolve(book: Book, id: str, cost_nanos: int) -> bool:
    """Replaces what is presumed for a request by what it cost; False when nothing is."""
    found = book.execute(
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
        book.add(*account, most_here(cost_nanos, here, bound), 0, -presumed)
    book.execute(
        "UPDATE requests SET holds = NULL, presumed_nanos = 0, cost_nanos = cost_nanos + ? WHERE id = ?",
        (cost_nanos, id),
    )
    return True


def standing(book: Book, now: float, claim: BudgetClaim) -> Standing:
    """How the limit behind a claim stands now."""
    window = _window(claim, now)
    return _standing(claim, window, book.counter(_account(claim, window), window.start_s))


def _allowed(book: Book, now: float, choice: HoldChoice) -> tuple[int, tuple[Taken, ...]] | Refusal:
    """The same once all its quotas have what is asked of them."""
    lacking = book.quotas.lacking(choice.quotas, now)
    if lacking is not None:
        return Refusal(model=choice.model, standing=lacking, asked_nanos=0)
    return _fitting(book, now, choice)


def _fitting(book: Book, now: float, choice: HoldChoice) -> tuple[int, tuple[Taken, ...]] | Refusal:
    """How much all claims of a choice grant, and what that takes from which counter; changes nothing."""
    granted = choice.bound_nanos
    found: list[tuple[BudgetClaim, str, int]] = []
    for claim in choice.claims:
        window = _window(claim, now)
        account = _account(claim, window)
        found.append((claim, account, window.start_s))
        if claim.limit_nanos is None:
            continue
        counter = book.counter(account, window.start_s)
        room = claim.limit_nanos - counter.used
        least = choice.expected_nanos if claim.soft else choice.floor_nanos
        # A request that costs nothing passes even where a limit was lowered below its use (S19, S20).
        if least > 0 and least > room:
            return Refusal(model=choice.model, standing=_standing(claim, window, counter), asked_nanos=least)
        if not claim.soft and choice.bound_nanos > 0:
            granted = min(granted, max(room, choice.floor_nanos))
    amounts: dict[tuple[str, int], int] = {}
    for claim, account, start in found:
        # Several limits may count the same money: it is taken once, as the hardest of them wants it.
        nanos = choice.expected_nanos if claim.soft else granted
        amounts[account, start] = max(nanos, amounts.get((account, start), 0))
    return granted, tuple(Taken(account, start, nanos) for (account, start), nanos in amounts.items())


def _take(book: Book, leg: Leg) -> None:
    for one in leg.taken:
        book.add(one.account, one.start, 0, one.nanos, 0)


def _end(book: Book, leg: Leg, cost: int, presumed: int) -> None:
    for one in leg.taken:
        book.add(one.account, one.start, cost, -one.nanos, presumed)


def _account(claim: BudgetClaim, window: Window) -> str:
    return f"{claim.account}:{window.name}"


def _window(claim: BudgetClaim, now: float) -> Window:
    """The window in force at the store's clock; past the last one offered, that one (S14)."""
    for window in claim.windows:
        if now < window.end_s or window.end_s == 0:
            return window
    return claim.windows[-1]


def _standing(claim: BudgetClaim, window: Window, counter: Counter) -> Standing:
    return claim.standing(window, counter.spent, counter.held, counter.presumed)
