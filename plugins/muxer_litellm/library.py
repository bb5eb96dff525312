"""LiteLLM itself: imported once something needs it, kept quiet and offline, its clients closed with its last user."""

import asyncio
import importlib
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from muxer import ConfigInvalid, Fault, Log

# LiteLLM asks the network for its prices and reads a .env of its own unless it is told not to before it is imported.
_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_TELEMETRY": "False"}
LONGEST_STRAY_S = 1.0
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


class Library(Struct, frozen=True):
    """The modules used; their types are not known where they are not installed."""

    litellm: Any
    httpx: Any
    worker: Any


# LiteLLM has one set of clients, one worker and one list of handlers per process: who uses them last is known here.
_users: list[object] = []


@asynccontextmanager
async def open_library(log: Log) -> AsyncIterator[Library]:
    """LiteLLM, imported in a thread. Raises ConfigInvalid with the remedy where it is not installed."""
    begun = time.monotonic()
    try:
        library = await asyncio.to_thread(_import)
    except ImportError as error:
        missing = Fault(f"LiteLLM cannot be imported: {error}", hint="install it: pip install 'modelmuxer[litellm]'")
        raise ConfigInvalid([missing]) from error
    log("info", "litellm_imported", seconds=round(time.monotonic() - begun, 3))
    user = object()
    _users.append(user)
    try:
        yield library
    finally:
        _users.remove(user)
        if not _users:
            await _close(library)


async def _close(library: Library) -> None:
    """Ends what LiteLLM runs on its own: it logs after each answer, also where nothing listens."""
    folder = str(Path(library.litellm.__file__).parent)
    running = asyncio.current_task()
    strays = [task for task in asyncio.all_tasks() if task is not running and _is_short_lived(task, folder)]
    if strays:
        await asyncio.wait(strays, timeout=LONGEST_STRAY_S)
    with suppress(RuntimeError):  # its worker was begun on a loop that is closed, so it has ended with that
        await library.worker.stop()
    await library.litellm.close_litellm_async_clients()
    library.litellm.in_memory_llm_clients_cache.flush_cache()


def _is_short_lived(task: "asyncio.Task[Any]", folder: str) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(folder) and code.co_name != "_worker_loop"


def _import() -> Library:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    litellm: Any = importlib.import_module("litellm")
    worker = importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.user_url_validation = True  # what it fetches for a vendor (images) is never on our own network
    for name in _LOGGERS:
        # Its lines are no JSON and may quote prompts; what matters of them comes as an error.
        logging.getLogger(name).disabled = True
    return Library(litellm, importlib.import_module("httpx"), worker)
