"""Scores as SQL, run by the writer inside its transaction."""

from collections.abc import Sequence

from muxer import Quota, Refusal, Refused, drawn
from muxer_sqlite.book import Book

INDEX = "CREATE INDEX IF NOT EXISTS requests_scored ON requests (at) WHERE feedback IS NOT NULL"


def keep(book: Book, now: float, id: str, score: float, user: str | None, asked: Sequence[Quota]) -> bool | Refused:
    """See KeepsFeedback."""
    lacking = book.quotas.lacking(asked, now)
    if lacking is not None:
        return Refused(refusals=(Refusal(model="", standing=lacking, asked_nanos=0),))
    book.quotas.take(drawn(asked), now)
    changed = book.execute(
        "UPDATE requests SET feedback = ? WHERE id = ? AND coalesce(?, user) = user", (score, id, user)
    )
    return changed.rowcount == 1
