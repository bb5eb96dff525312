"""The one thread that writes: what waits together is committed together."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from muxer import StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MAX_WAITING = 10_000  # F13: past this many waiting writes, refuse instead of growing
_MAX_BATCH = 500


class _Job(Generic[T]):
    """One piece of work and where its result goes."""

    def __init__(self, work: Work[T], future: "asyncio.Future[T]") -> None:
        self.work = work
        self.future = future
        self.result: T | None = None
        self.error: Exception | None = None

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

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)

    async def __aenter__(self) -> "Writer":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def run(self, work: Work[T]) -> T:
        """Runs `work` in a transaction and returns its result once it is committed.

        Work that was handed over is done even when its caller is cancelled. Raises StoreUnavailable.
        """
        if self._jobs.qsize() >= MAX_WAITING:
            raise StoreUnavailable("the request log cannot keep up: too many writes are waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, future))
        return await future

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._jobs.get()]
            while len(batch) < _MAX_BATCH and not self._jobs.empty():
                batch.append(self._jobs.get())
            jobs = [job for job in batch if job is not None]
            stopping = len(jobs) < len(batch)
            if jobs:
                self._commit(jobs)
                self._loop.call_soon_threadsafe(_deliver, jobs)

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        try:
            _transaction(self._connection, jobs)
        except Exception as error:  # noqa: BLE001  # what a job raises belongs to its caller, not to this thread
            # Locked, full, read-only are the file's state. Else one job took the others' transaction with it.
            if len(jobs) > 1 and not isinstance(error, sqlite3.OperationalError):
                for job in jobs:
                    self._commit([job])
                return
            for job in jobs:
                job.error = _translated(error)


def _translated(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        return StoreUnavailable(f"the store cannot write ({error}); requests are refused until it can")
    return error


def _transaction(connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for job in jobs:
            job.result = job.work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _deliver(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        job.deliver()
