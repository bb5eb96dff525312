"""What is said on each new connection: behind it there may be another server, or the same with less (S17)."""

from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import MovedError

Command = tuple[str | bytes | int, ...]


class Greeting:
    """A heartbeat before all else, so that no hold is taken by a server that has lost data and does not know it.

    Nodes of a cluster that do not have our slot answer MOVED, and are never asked for a hold.
    """

    def __init__(self) -> None:
        self._command: Callable[[], Command] | None = None
        self._heard: Callable[[object], None] | None = None

    def begin(self, command: Callable[[], Command], heard: Callable[[object], None]) -> None:
        """From now on connections are greeted; `heard` is given the reply."""
        self._command, self._heard = command, heard

    async def on_connect(self, connection: AbstractConnection) -> None:
        """See `redis_connect_func` of the driver. Whatever stops it ends the connection: it must not be used."""
        is_done = False
        try:
            await connection.on_connect()
            if self._command is not None and self._heard is not None:
                await connection.send_command(*self._command())
                self._heard(await connection.read_response())
            is_done = True
        except MovedError:
            is_done = True
        finally:
            if not is_done:
                await connection.disconnect(nowait=True)
