"""A configuration that changes while it serves: the file is watched, and a request keeps the one it began with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from msgspec import Struct, structs

from muxer import measurements
from muxer.assemble import Assembler, Assembly
from muxer.background import beside
from muxer.config.contents import Contents
from muxer.config.settings import Configuration
from muxer.edge import PATIENCE, Patience, Request
from muxer.errors import ConfigInvalid, Fault
from muxer.incoming import Outgoing
from muxer.listener import Listener
from muxer.log import frames
from muxer.prices import PriceTable
from muxer.server import Outcome, Server

POLL_S = 1.0
_FIXED = ("server", "store")
SETTLE_S = 0.1  # a file that is being written has not its last content yet (B66)


class Origin(Protocol):
    """Where the configuration comes from, and who has a say in it."""

    @property
    def table(self) -> PriceTable:
        """The prices it is checked with."""

    def contents(self) -> Contents:
        """What the file says now. Slow: called in a thread. Raises ConfigInvalid."""

    def configuration(self, contents: Contents) -> Configuration:
        """What those contents mean. Slow: called in a thread. Raises ConfigInvalid."""

    async def admit(self, assembly: Assembly) -> None:
        """Before anything is served by it. Raises ConfigInvalid to refuse."""

    def taken(self, contents: Contents) -> None:
        """They are in force from now on."""


class _Serving(Struct, eq=False):
    """One configuration in use: by new requests, by those that began with it, or by both."""

    assembly: Assembly
    server: Server
    requests: int = 0


class Live:
    """The configuration in force, and those whose last requests are still running; `begin` comes first."""

    def __init__(
        self,
        assembler: Assembler,
        origin: Origin,
        *,
        is_loopback: bool,
        patience: Patience = PATIENCE,
    ) -> None:
        self._assembler = assembler
        self._origin = origin
        self._is_loopback = is_loopback
        self._patience = patience
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()
        self._current: _Serving | None = None
        self._in_force = ""
        self._judged = ""
        self._faults: tuple[Fault, ...] = ()
        self._needs_restart: tuple[str, ...] = ()
        self._is_closing = False
        self.is_draining = False

    @property
    def assembly(self) -> Assembly:
        """What new requests are served by."""
        return self._serving.assembly

    @property
    def server(self) -> Server:
        """What answers new requests."""
        return self._serving.server

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the file as it is now is not in force; nothing when it is."""
        return self._faults

    @property
    def needs_restart(self) -> tuple[str, ...]:
        """The sections of the file that differ from what runs, and cannot change while it does."""
        return self._needs_restart

    @property
    def _serving(self) -> _Serving:
        assert self._current is not None, "it was begun"
        return self._current

    async def begin(self, configuration: Configuration, contents: Contents) -> None:
        """Opens the first configuration, which those contents mean. Raises ConfigInvalid."""
        assembly = await self._assembler.build(configuration, self._origin.table)
        await self._origin.admit(assembly)
        self._assembler.adopt(assembly)
        self._current = _Serving(assembly, self._server(assembly))
        self._in_force = self._judged = contents.digest

    def listener(self, most: int) -> Listener:
        """What listens, over at most so many connections: each request is served to its end by the configuration that
        it began with."""
        return Listener(
            self._respond,
            lambda request, error: self.server.refused(request, error),
            max_body_bytes=self.assembly.configuration.settings.server.max_body_bytes,
            patience=self._patience,
            most=most,
            is_last=lambda: self._is_closing,
        )

    def drain(self) -> None:
        """Not ready for more requests from now on, and no other configuration is taken."""
        self.is_draining = True

    def close(self) -> None:
        """Each connection is closed after its answer from now on."""
        self._is_closing = True

    def ask(self) -> None:
        """Has the file looked at now, by the task of `watch`."""
        self._asked.set()

    async def watch(self, poll_s: float = POLL_S, settle_s: float = SETTLE_S) -> None:
        """Takes over each new content of the file, for ever. A content is taken once it has stayed the same for
        `settle_s`, and tried once, unless somebody asks."""
        while True:
            if await _happens(self._asked, poll_s) or await self._has_settled(settle_s):
                self._asked.clear()
                await self.reload()

    async def reload(self) -> Outcome:
        """Takes over the file as it is now; the faults when it cannot be used, and then nothing has changed."""
        async with self._lock:
            if self.is_draining:
                return self._outcome("unchanged")
            self._judged, contents, error = await self._look()
            if self._judged == self._in_force:
                if self._faults:
                    self._log("info", "config_valid_again", config=self.assembly.configuration.digest)
                self._faults = ()
                return self._outcome("unchanged")
            try:
                if contents is None:
                    raise error or ConfigInvalid([])
                await self._take_over(contents)
            except ConfigInvalid as invalid:
                self._refuse(invalid.faults)
                return self._outcome("invalid")
            self._in_force, self._faults = self._judged, ()
            self._origin.taken(contents)
            return self._outcome("reloaded")

    async def _has_settled(self, settle_s: float) -> bool:
        """Whether the file has a content that was not tried yet, and is not just being written."""
        digest = (await self._look())[0]
        if digest == self._judged:
            return False
        return await _happens(self._asked, settle_s) or (await self._look())[0] == digest

    async def _look(self) -> tuple[str, Contents | None, ConfigInvalid | None]:
        """What the file is like, its contents, or why they cannot be read."""
        try:
            contents = await asyncio.to_thread(self._origin.contents)
        except ConfigInvalid as error:
            return str(error), None, error
        return contents.digest, contents, None

    async def _take_over(self, contents: Contents) -> None:
        """Serves by these contents from now on. Raises ConfigInvalid."""
        before = self._serving
        try:
            serving, needs_restart = await self._prepared(contents, before.assembly)
        except ConfigInvalid:
            raise
        except (Exception, SystemExit) as error:  # foreign code: a plugin's own types, kinds and routes
            self._log("error", "config_failed", error=type(error).__name__, trace=frames(error))
            raise ConfigInvalid([Fault(f"cannot be taken over: {type(error).__name__}; see the log")]) from error
        # Nothing is awaited from here on: no request meets half of a change.
        self._assembler.adopt(serving.assembly, before.assembly)
        self._current, self._needs_restart = serving, needs_restart
        if not before.requests:
            self._assembler.retire(before.assembly)
        self._tell(serving.assembly.configuration, before.assembly.configuration.digest)

    async def _prepared(self, contents: Contents, before: Assembly) -> tuple[_Serving, tuple[str, ...]]:
        """What serves by these contents, and their sections that only a restart puts in force."""
        asked, running = await asyncio.to_thread(self._origin.configuration, contents), before.configuration
        needs_restart = [
            name for name in _FIXED if getattr(asked.settings, name) != getattr(running.settings, name)
        ] + ["DEBUG"] * (asked.debug != running.debug)
        settings = structs.replace(asked.settings, server=running.settings.server, store=running.settings.store)
        configuration = structs.replace(asked, settings=settings, debug=running.debug)
        assembly = await self._assembler.build(configuration, self._origin.table, before)
        try:
            await self._origin.admit(assembly)
            return _Serving(assembly, self._server(assembly)), tuple(needs_restart)
        except BaseException:
            self._assembler.retire(assembly)
            raise

    def _tell(self, configuration: Configuration, was: str) -> None:
        self._assembler.meters.add(measurements.CONFIG_RELOADS, 1)
        self._log("info", "config_reloaded", config=configuration.digest, was=was)
        for warning in configuration.warnings:
            self._log("warning", "configuration", message=str(warning))
        for name in self._needs_restart:
            self._log("warning", "needs_restart", section=name)

    def _refuse(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._assembler.meters.add(measurements.CONFIG_RELOAD_FAILURES, 1)
        for fault in faults:
            self._log("error", "config_invalid", fault=str(fault))

    def _outcome(self, status: str) -> Outcome:
        return Outcome(
            status=status,
            config=self.assembly.configuration.digest,
            faults=[str(fault) for fault in self._faults],
            needs_restart=list(self._needs_restart),
        )

    def _server(self, assembly: Assembly) -> Server:
        return Server(assembly, is_loopback=self._is_loopback, patience=self._patience, reloads=self)

    async def _respond(self, request: Request) -> Outgoing:
        """Answers by the configuration in force, which stays open until the request that took it has ended."""
        serving = self._serving
        serving.requests += 1
        try:
            return await serving.server.respond(request)
        finally:
            serving.requests -= 1
            if not serving.requests and serving is not self._current:
                self._assembler.retire(serving.assembly)

    def _log(self, level: str, event: str, **fields: object) -> None:
        self._assembler.log(level, event, **fields)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await event.wait()
    return False


@asynccontextmanager
async def watching(live: Live, poll_s: float = POLL_S) -> AsyncIterator[None]:
    """Watches the file for as long as the context is open."""
    async with beside(live.watch(poll_s)):
        yield
