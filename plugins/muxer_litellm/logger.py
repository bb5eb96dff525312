"""A `CustomLogger` of one's own as a sink: each finished record becomes one success or failure event."""

import asyncio
from collections.abc import Sequence
from typing import Any

from muxer import ConfigInvalid, Fault, Log, Record
from muxer_litellm import payload
from muxer_litellm.library import Library
from muxer_litellm.settings import LoggerSettings


def open_sink(instance: object, settings: LoggerSettings, library: Library, log: Log) -> "LoggerSink":
    """The sink of a logger. Raises ConfigInvalid when the instance is none."""
    if not isinstance(instance, _base(library)):
        fault = Fault(f"{settings.logger} is no instance of CustomLogger", hint="name an instance, not a class")
        raise ConfigInvalid([fault])
    return LoggerSink(instance, settings, library, log)


def _base(library: Library) -> Any:
    return library.litellm.integrations.custom_logger.CustomLogger


class LoggerSink:
    """Tells a logger of each record once, those of a batch at the same time: as with LiteLLM itself, what a logger
    raises is not repeated."""

    def __init__(self, instance: Any, settings: LoggerSettings, library: Library, log: Log) -> None:
        self._instance = instance
        self._settings = settings
        self._library = library
        self._log = log

    async def write(self, records: Sequence[Record]) -> None:
        """See Sink."""
        await asyncio.gather(*map(self._tell_within_limits, records))

    async def _tell_within_limits(self, record: Record) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._tell(record)
        except Exception as error:  # noqa: BLE001  # the operator's code; raising would repeat the whole batch
            name = type(error).__name__
            self._log("warning", "litellm_logger_failed", id=record.id, logger=self._settings.logger, error=name)

    async def _tell(self, record: Record) -> None:
        method = "log_success_event" if payload.is_success(record) else "log_failure_event"
        event, response = payload.event(record, self._library), payload.response(record, self._library)
        begun, ended = payload.times(record)
        if self._has(f"async_{method}"):
            await getattr(self._instance, f"async_{method}")(event, response, begun, ended)
        elif self._has(method):
            await asyncio.to_thread(getattr(self._instance, method), event, response, begun, ended)

    def _has(self, method: str) -> bool:
        return getattr(type(self._instance), method) is not getattr(_base(self._library), method)
