"""The one thread that writes a SQLite file: what waits together is committed together, and while the file cannot be
written nobody waits at all."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from msgspec import Struct

from muxer import condition
from muxer.condition import Condition
from muxer.errors import StoreUnavailable
from muxer.transactions import Transactions, Work, WriteBehind

T = TypeVar("T")

_MAX_BATCH = 500
_JOB_BYTES = 1_024  # what a job takes besides the texts it carries


class WriterBounds(Struct, frozen=True, kw_only=True):
    """Rows and bytes of writes that may wait, and the length of SQLite's log (F13); how often a file that could not be
    written is tried again, and how long a transaction waits for another process's, beyond what its connection does."""

    waiting_rows: int = 10_000
    waiting_bytes: int = 32 * 2**20
    log_bytes: int = 256 * 2**20
    probe_every_s: float = 1.0
    patience_s: float = 0.0


class _Job(Generic[T]):
    """One piece of work and where its result goes."""

    def __init__(self, work: Work[T], future: "asyncio.Future[T]", size: int) -> None:
        self.work = work
        self.future = future
        self.size = size
        self.result: T | None = None
        self.error: Exception | None = None
        self.is_done = False

    def deliver(self) -> None:
        """Runs on the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # no error means the work returned a T


class Writer:
    """Takes work from the event loop and runs it in transactions on its own connection, in order."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        log_path: Path,
        health: Condition,
        bounds: WriterBounds,
        behind: WriteBehind | None = None,
    ) -> None:
        self._connection = connection
        self._transactions = Transactions(connection, behind, bounds.patience_s)
        self._log_path = log_path
        self._health = health
        self._bounds = bounds
        self._jobs: queue.SimpleQueue[list[_Job[Any]] | None] = queue.SimpleQueue()
        self._gathered: list[_Job[Any]] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._is_log_long = False
        self._shrunk_at = 0.0
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)

    async def __aenter__(self) -> "Writer":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True  # before the last job: what came after it would never be answered
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def run(self, work: Work[T], text_bytes: int = 0, *, is_new: bool = False) -> T:
        """Runs `work` in a transaction and returns its result once it is committed.

        Work that was handed over is done even when its caller is cancelled. Raises StoreUnavailable: at once while the
        file cannot be written and once the writer is closed, else after the connection's busy timeout. `is_new` is work
        that makes more work later.
        """
        return await self.submit(work, text_bytes, is_new=is_new)

    def submit(self, work: Work[T], text_bytes: int = 0, *, is_new: bool = False) -> "asyncio.Future[T]":
        """The same for a caller that has something else to do meanwhile, or never asks for the result."""
        future: asyncio.Future[T] = self._loop.create_future()
        try:
            size = self._admitted(text_bytes + _JOB_BYTES, is_new=is_new)
        except StoreUnavailable as error:
            future.set_exception(error)
            return future
        self._waiting_rows += 1
        self._waiting_bytes += size
        # Singly, nearly each would get a commit and two switches between the threads of its own.
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Job(work, future, size))
        return future

    def _hand_over(self) -> None:
        """What one turn of the loop brought goes over to the thread."""
        if self._gathered:
            self._jobs.put(self._gathered)
            self._gathered = []

    def _admitted(self, size: int, *, is_new: bool) -> int:
        if self._is_closed:
            raise StoreUnavailable(f"the {self._health.what} is closed")
        self._health.check(is_new=is_new)
        if self._waiting_rows >= self._bounds.waiting_rows or self._waiting_bytes + size > self._bounds.waiting_bytes:
            what = self._health.what
            self._health.fail("queue", f"the {what} cannot keep up: too many writes are waiting for its file")
            self._health.check()
        return size

    def _run(self) -> None:
        trouble: Exception | None = None
        while True:
            jobs, is_last = self._next(trouble)
            if trouble is None:
                trouble = self._commit(jobs)
            elif not jobs:
                trouble = self._probe()
            if trouble is not None:
                for job in jobs:
                    if not job.is_done:  # what came meanwhile waits no longer for a file that cannot be written
                        job.error = StoreUnavailable(condition.words(trouble, self._health.what))
            else:
                self._watch_log()
            self._loop.call_soon_threadsafe(self._took, jobs, trouble, self._is_log_long)
            if is_last:
                return

    def _next(self, trouble: Exception | None) -> tuple[list[_Job[Any]], bool]:
        """What waits, until it is a batch; nothing when it is time to look after the file. True with the last."""
        is_ill = self._is_log_long or (trouble is not None and not condition.is_damage(trouble))
        try:
            found = self._jobs.get(timeout=self._bounds.probe_every_s if is_ill else None)
        except queue.Empty:
            return [], False
        jobs: list[_Job[Any]] = []
        while found is not None:
            jobs += found
            if len(jobs) >= _MAX_BATCH or self._jobs.empty():
                return jobs, False
            found = self._jobs.get()
        return jobs, True

    def _commit(self, jobs: Sequence[_Job[Any]]) -> Exception | None:
        """Commits the jobs; the error when the file cannot be written."""
        if not jobs:
            return None
        try:
            results = self._transactions.run([job.work for job in jobs])
        except Exception as error:  # noqa: BLE001  # what a job raises belongs to its caller, not to this thread
            if condition.is_of_the_file(error):
                return error
            if len(jobs) > 1:
                return self._commit_singly(jobs)
            is_ours = not isinstance(error, sqlite3.Error)
            jobs[0].error = error if is_ours else StoreUnavailable(condition.words(error, self._health.what))
            jobs[0].is_done = True
            return None
        for job, result in zip(jobs, results, strict=True):
            job.result = result
            job.is_done = True
        return None

    def _commit_singly(self, jobs: Sequence[_Job[Any]]) -> Exception | None:
        """The same where one of the jobs took the others' transaction with it."""
        for job in jobs:
            trouble = self._commit([job])
            if trouble is not None:
                return trouble
        return None

    def _probe(self) -> Exception | None:
        """Writes a page as it is; the trouble as it is now, None when there is none."""
        try:
            self._transactions.run([_rewrite])
        except sqlite3.Error as error:
            return error
        return None

    def _watch_log(self) -> None:
        """Sees how long the log is. One that is too long is moved into the file and cut, once in a while; a reader
        that still needs it is not waited for."""
        if self._is_log_long and time.monotonic() >= self._shrunk_at + self._bounds.probe_every_s:
            self._shrink()
            self._shrunk_at = time.monotonic()
        self._is_log_long = self._is_long()

    def _is_long(self) -> bool:
        try:
            return self._log_path.stat().st_size > self._bounds.log_bytes
        except OSError:
            return False

    def _shrink(self) -> None:
        (patience_ms,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            pass  # tried again
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {patience_ms}")

    def _took(self, jobs: Sequence[_Job[Any]], trouble: Exception | None, is_log_long: bool) -> None:
        """Runs on the event loop: results go out, and the condition is what the thread found."""
        self._waiting_rows -= len(jobs)
        self._waiting_bytes -= sum(job.size for job in jobs)
        if (
            self._waiting_rows < self._bounds.waiting_rows // 2
            and self._waiting_bytes < self._bounds.waiting_bytes // 2
        ):
            self._health.recover("queue")
        if trouble is None:
            self._health.recover("file")
        else:
            self._health.fail("file", condition.words(trouble, self._health.what))
        if is_log_long:
            self._health.fail(
                "log", f"the {self._health.what}'s log has grown too long; end what reads the file in one transaction"
            )
        else:
            self._health.recover("log")
        for job in jobs:
            job.deliver()


def _rewrite(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")
