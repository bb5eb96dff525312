"""Whether the file holds together: SQLite's own check, and what is counted against what the rows say."""

import sqlite3
from collections import Counter as Tally
from collections.abc import Iterator

from muxer import (
    file_words,
    usd,
)
from muxer_sqlite import legs, totals

_MOST_FAULTS = 20


def faults(db: sqlite3.Connection) -> list[str]:
    """What is wrong, a sentence each. What was spent is not recomputed: a finished row does not say which limits there
    were."""
    found: list[str] = []
    try:
        for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_FAULTS})"):
            if line != "ok":
                found.append(f"the file is damaged: {line}")
        db.execute("BEGIN")  # everything below sees one state
        try:
            found += [*_counters(db), *_slots(db), *_days(db)]
        finally:
            db.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        found.append(file_words(error))
    return found


def _counters(db: sqlite3.Connection) -> Iterator[str]:
    """Held and presumed money per counter against the legs of the rows it is for."""
    expected = Tally[tuple[str, int, str]]()
    query = "SELECT state, holds FROM requests WHERE holds IS NOT NULL AND (state = 'open' OR presumed_nanos > 0)"
    for state, holds in db.execute(query):
        for leg in legs.decode_legs(holds):
            kind = "presumed" if leg.ended or state != "open" else "held"
            for one in leg.taken:
                expected[one.account, one.start, kind] += leg.presumed if leg.ended else one.nanos
    counted = Tally[tuple[str, int, str]]()
    for account, start, held, presumed in db.execute("SELECT account, start, held, presumed FROM counters"):
        counted[account, start, "held"] = held
        counted[account, start, "presumed"] = presumed
    for place in sorted(expected.keys() | counted.keys()):
        if expected[place] != counted[place]:
            account, start, kind = place
            yield (
                f"{account} since {start}: ${usd(counted[place])} are counted as {kind}, "
                f"the requests account for ${usd(expected[place])}"
            )


def _slots(db: sqlite3.Connection) -> Iterator[str]:
    """Slots taken against the open requests that took them."""
    expected = Tally[str]()
    for (drawn,) in db.execute("SELECT drawn FROM requests WHERE state = 'open' AND drawn IS NOT NULL"):
        for one in legs.decode_drawn(drawn):
            if one.unit == "slots":
                expected[one.account] += one.amount
    query = "SELECT account, value FROM quotas WHERE account LIKE '%:slots'"
    for account, value in db.execute(query):
        if value != expected[account]:
            yield f"{account}: {value} slots are taken, open requests took {expected[account]}"


def _days(db: sqlite3.Connection) -> Iterator[str]:
    """The totals of each day against its rows."""
    for day, by_rows, by_totals in totals.wrong_days(db):
        yield f"{day}: the records cost ${usd(by_rows)}, the day's totals say ${usd(by_totals)} or differ in tokens"
