"""What came of a scene: every request accounted for, the bill against the store and its records, times and sizes."""

import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct
from muxer_redis import RedisSettings, open_redis
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import Secret, Store, usd
from muxer.testing import open_context
from tests.chaos.load import Seen
from tests.chaos.stage import Stage
from tests.processes import PRICES, House


class Verdict(Struct, kw_only=True):
    """One row of the table, and what is wrong. Amounts are nano-dollars, before the operator resolved anything."""

    row: str
    what: str
    sent: int = 0
    statuses: Counter[str] = Counter()
    lost: int = 0
    double: int = 0
    billed: int = 0
    recorded: int = 0
    presumed: int = 0
    waits: tuple[str, str, str] = ("", "", "")
    recovery_s: float | None = None
    memory_mb: tuple[float, float] = (0.0, 0.0)
    log_bytes: float = 0.0
    wrong: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """As it is shown."""
        statuses = ", ".join(f"{status}: {count}" for status, count in self.statuses.most_common())
        recovery = "none" if self.recovery_s is None else f"{self.recovery_s:.2f}"
        money = (usd(self.billed), usd(self.recorded), usd(self.presumed))
        memory = f"{self.memory_mb[0]:.0f} to {self.memory_mb[1]:.0f}"
        return (
            self.row, self.what, str(self.sent), statuses, str(self.lost), str(self.double), *money, *self.waits,
            recovery, memory, f"{self.log_bytes:.0f}", "; ".join(self.wrong) or "yes",
        )  # fmt: skip


HEADINGS = (
    "row", "fault", "sent", "answered", "lost", "double", "billed $", "recorded $", "presumed $", "before", "during",
    "after", "recovery s", "memory MB", "log bytes a request", "holds",
)  # fmt: skip
"""What the cells are; times before, during and after the fault are p50 / p99 in milliseconds."""


def waited(seen: Sequence[Seen]) -> str:
    """How long answers took, whatever they were."""
    if len(seen) < 2:
        return "-"
    parts = statistics.quantiles(((one.ended - one.begun) * 1_000 for one in seen), n=100, method="inclusive")
    return f"{parts[49]:.0f} / {parts[98]:.0f}"


async def accounted(stage: Stage, verdict: Verdict) -> None:
    """Looks at the store once every proxy has ended, as one more process that buries the dead."""
    await stage.bury()
    folder = stage.folder / "accounts"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_context(folder))
        store: Store
        if stage.server is None:
            settings = SqliteSettings(path=str(stage.database))
            store = await stack.enter_async_context(open_sqlite(settings, context))
        else:
            store = await stack.enter_async_context(
                open_redis(RedisSettings(url=Secret(stage.server.url), timeout_s=5), context)
            )
        await _compare(stage, House(stage.kind, Path(folder), stage.upstream, store, stage.server), verdict)


async def _compare(stage: Stage, house: House, verdict: Verdict) -> None:
    seen, wrong = stage.load.seen, list(verdict.wrong)
    totals = await house.settled()
    records = await house.records()
    billed = Counter[str]()
    for call in stage.upstream.calls:
        if call.billed is not None:
            billed[str(call.body.get("user", ""))] += PRICES[call.model].cost_nanos(call.billed)
    rows = Counter(record.end_user for record in records if record.api != "escrow")
    verdict.sent, verdict.statuses = len(seen), Counter(one.shown for one in seen)
    verdict.lost = sum((one.is_whole or billed[one.name] > 0) and not rows[one.name] for one in seen)
    dear = {record.end_user for record in records if record.cost_nanos > billed[record.end_user]}
    verdict.double = len(dear | {name for name, count in rows.items() if count > 1})
    verdict.billed, verdict.recorded, verdict.presumed = house.bill, totals.recorded, totals.presumed
    if verdict.lost or verdict.double:
        wrong.append("requests are lost or charged twice")
    if hung := sum(one.is_hung for one in seen):
        wrong.append(f"{hung} hang")
    if (totals.spent, totals.presumed) != (totals.recorded, totals.presumed_recorded):
        wrong.append(f"the store has {usd(totals.spent)} and {usd(totals.presumed)} presumed, its records other sums")
    if house.bill > totals.counted:
        wrong.append("less is counted than was billed")
    if verdict.recovery_s is None:
        wrong.append("it did not recover")
    if bad := {name: code for name, code in stage.exits.items() if code}:
        wrong.append(f"exit codes {bad}")
    if not wrong:
        after = await house.reconcile()
        if (after.spent, after.presumed, after.recorded) != (house.bill, 0, house.bill):
            wrong.append(f"resolved, the store has {usd(after.spent)}")
    verdict.wrong = tuple(wrong)
