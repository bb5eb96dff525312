"""`muxer serve`: runs the proxy until it is told to stop."""

import argparse
import asyncio
import gc
import ipaddress
import logging
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct
from msgspec.structs import replace

from muxer.access import digest
from muxer.assemble import Assembly, open_assembler
from muxer.cli.configuration import Loaded, Origin
from muxer.cli.recorded import fetch
from muxer.config.contents import Contents
from muxer.config.settings import Configuration, KeySettings
from muxer.errors import ConfigInvalid, Fault, MuxerError
from muxer.interfaces import Log
from muxer.keys import KeepsKeys
from muxer.listener import Listener, most_connections
from muxer.live import Live, watching
from muxer.log import Heard, JSONLog, unheard
from muxer.prices import PriceTable
from muxer.stores import Store
from muxer.supervisor import Link, Orders, reserve, supervise

CANCEL_S = 1.0  # how long cancelled requests may take to settle
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--host", help="address to listen on, instead of server.listen")
    parser.add_argument("--port", type=_port, help="port to listen on, instead of server.listen; 0 takes a free one")
    parser.add_argument("--demo", action="store_true", help="answer offline: no key, no network, all else real")
    parser.add_argument(
        "--make-key", action="store_true", help="with no API key in the file or the store, make one and require it"
    )
    parser.add_argument("--workers", type=_count, metavar="N", help="processes, instead of server.workers")
    parser.add_argument("--link", type=int, help=argparse.SUPPRESS)  # to the parent, which adds it for a worker


class _Served(Struct, frozen=True, kw_only=True):
    """What this process serves, and who may reach it: see `muxer.live.Origin`."""

    origin: Origin
    host: str
    made_key: str = ""
    chose_demo: bool = False
    link: Link | None = None

    @property
    def table(self) -> PriceTable:
        """See Origin."""
        return self.origin.table

    def contents(self) -> Contents:
        """See Origin."""
        return self.origin.contents()

    def configuration(self, contents: Contents) -> Configuration:
        """See Origin. What began with real answers never goes over to made-up ones."""
        loaded = self.origin.load(contents, may_choose_demo=self.chose_demo)
        return _with_key(loaded.configuration, self.made_key) if self.made_key else loaded.configuration

    async def admit(self, assembly: Assembly) -> None:
        """Refuses to let everybody in from everywhere."""
        if not is_loopback(self.host) and await assembly.callers.is_open():
            raise _open_door(self.host)

    def taken(self, contents: Contents) -> None:
        """Tells the parent."""
        if self.link:
            self.link.took_over(msgspec.msgpack.encode(contents))


def run(arguments: argparse.Namespace) -> int:
    """Serves; 0 after a proper stop, 1 when a worker had to be killed, 2 when it could not start."""
    # It asks to look at the file again: before anybody listens for it, it must not end the process. Workers inherit it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if arguments.link is not None:
        return _work(arguments, Link(arguments.link))
    try:
        origin = Origin(arguments.config, demo=arguments.demo)
        contents = origin.contents()
        loaded = origin.load(contents, may_choose_demo=True)
        made, has_keys = "", _has_keys(loaded.configuration)
        if arguments.make_key and not has_keys:
            made = f"mux_{secrets.token_urlsafe(32)}"
            loaded = replace(loaded, configuration=_with_key(loaded.configuration, made))
        host, port = _address(arguments, loaded.configuration)
        if not (is_loopback(host) or has_keys or made or loaded.configuration.settings.authenticators):
            raise _open_door(host)
        log = _log(loaded.configuration)
        for warning in loaded.configuration.warnings:
            log("warning", "configuration", message=str(warning))

        def announce(port: int) -> None:
            print(_banner(loaded, host, port, made, needs_key=has_keys or bool(made)), file=sys.stderr, flush=True)

        workers = arguments.workers or loaded.configuration.settings.server.workers
        if workers > 1:
            good = msgspec.msgpack.encode(contents)
            return _supervise(arguments, loaded.configuration, workers, log, (made, good), announce)
        served = _Served(origin=origin, host=host, made_key=made, chose_demo=loaded.chose_demo)
        uvloop.run(_serve(served, loaded.configuration, contents, port, log, announce))
    except MuxerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _work(arguments: argparse.Namespace, link: Link) -> int:
    """One of several workers: the parent is told how it goes, not the terminal."""
    try:
        orders = link.orders()
        origin = Origin(arguments.config, demo=arguments.demo)
        try:
            _work_by(arguments, origin, origin.contents(), orders, link)
        except ConfigInvalid:
            # The siblings serve by what the file said before; so does this one, and looks at the file as they do.
            _work_by(arguments, origin, msgspec.msgpack.decode(orders.good, type=Contents), orders, link)
    except MuxerError as error:
        link.failed(str(error))
        return 2
    return 0


def _work_by(arguments: argparse.Namespace, origin: Origin, contents: Contents, orders: Orders, link: Link) -> None:
    """Serves by these contents. Raises ConfigInvalid when it cannot begin to."""
    loaded = origin.load(contents, may_choose_demo=True)
    host, _ = _address(arguments, loaded.configuration)
    served = _Served(origin=origin, host=host, made_key=orders.made_key, chose_demo=loaded.chose_demo, link=link)
    configuration = _with_key(loaded.configuration, orders.made_key) if orders.made_key else loaded.configuration
    log = partial(_log(configuration), worker=orders.worker)

    def announce(_: int) -> None:
        link.ready()
        served.taken(contents)

    uvloop.run(_serve(served, configuration, contents, orders.port, log, announce, orders.worker))


def _supervise(
    arguments: argparse.Namespace,
    configuration: Configuration,
    workers: int,
    log: Log,
    told: tuple[str, bytes],
    announce: Callable[[int], None],
) -> int:
    """Runs the workers. `told` are the key that was made and the contents of the file."""
    host, port = _address(arguments, configuration)
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigInvalid([Fault("this system lets no two processes share a port", hint="leave out --workers")])
    try:
        kept = reserve(host, port)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    words = ["serve", *(["--config", str(arguments.config)] if arguments.config else []), "--host", host]
    with kept:
        port = kept.getsockname()[1]
        return supervise(
            [*words, "--demo"] if arguments.demo else words,
            [Orders(number, port, *told) for number in range(1, workers + 1)],
            log,
            stop_s=configuration.settings.server.stop_s,
            announce=partial(announce, port),
        )


def _address(arguments: argparse.Namespace, configuration: Configuration) -> tuple[str, int]:
    host, port = configuration.settings.server.address
    return arguments.host or host, port if arguments.port is None else arguments.port


def _log(configuration: Configuration) -> JSONLog:
    return JSONLog(sys.stdout.buffer, time.time, "debug" if configuration.debug else "info")


def _count(word: str) -> int:
    count = int(word)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _port(word: str) -> int:
    port = int(word)
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_key(configuration: Configuration, secret: str) -> Configuration:
    """The same configuration with one key, as if ALLOWED_API_KEYS held it, unless its file has keys by now."""
    if configuration.settings.keys:
        return configuration
    known = digest(secret)
    name = f"key-{known[:8]}"
    key = KeySettings(name=name, digest=f"sha256:{known}", user=name, role="metrics")
    return replace(configuration, settings=replace(configuration.settings, keys=(key,)))


def _has_keys(configuration: Configuration) -> bool:
    """Whether callers need a key: one of the file, or one that was ever made in the store."""
    return bool(configuration.settings.keys) or fetch(configuration, _has_stored_keys, False)


async def _has_stored_keys(store: Store) -> bool:
    return isinstance(store, KeepsKeys) and await store.has_keys()


def _open_door(host: str) -> ConfigInvalid:
    """A public address without keys would give everybody the providers' money (RELIABILITY 4, TLS)."""
    problem = f"will not listen on {host} without API keys: anybody who reaches it could spend your providers' money"
    remedy = (
        "set ALLOWED_API_KEYS or `keys:` in routing.yaml, run `muxer keys create NAME`, add --make-key, or listen on "
        "127.0.0.1"
    )
    return ConfigInvalid([Fault(problem, hint=remedy)])


async def _serve(
    served: _Served,
    configuration: Configuration,
    contents: Contents,
    port: int,
    log: Log,
    announce: Callable[[int], None],
    worker: int = 0,
) -> None:
    stop, hasten = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hasten if stop.is_set() else stop).set())
    if served.link:
        served.link.when_cut(stop.set)
    async with open_assembler(log, worker=worker) as assembler:
        loop.set_exception_handler(lambda _, context: unheard(assembler.log, context))
        logging.getLogger().addHandler(Heard(assembler.log))
        live = Live(assembler, served, is_loopback=is_loopback(served.host))
        await live.begin(configuration, contents)
        loop.add_signal_handler(signal.SIGHUP, live.ask)
        listener = live.listener(most_connections())
        try:
            async with watching(live):
                port = await _listen(listener, served.host, port, shared=served.link is not None)
                _calm_collector()
                announce(port)
                await stop.wait()
                live.drain()
            in_flight, settings = live.assembly.parts.in_flight, configuration.settings.server
            log("info", "stopping", in_flight=in_flight.count, grace_s=settings.grace_s)
            await _first([hasten.wait()], settings.drain_delay_s)
            live.close()
            listener.stop()
            await _first([in_flight.idle(), hasten.wait()], settings.grace_s)
            in_flight.end()
            await _first([in_flight.idle()], CANCEL_S)
        finally:
            await listener.close(CANCEL_S)


def _calm_collector() -> None:
    """What the start made stays, so it is never looked through again; and requests make few cycles, so that the young
    are looked through at each 20,000 objects instead of 700 (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


async def _first(events: Sequence[Coroutine[object, object, object]], timeout_s: float) -> None:
    """Waits until one of them happens, or the time is over."""
    waits = [asyncio.create_task(event) for event in events]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _listen(listener: Listener, host: str, port: int, *, shared: bool) -> int:
    try:
        return await listener.listen(host, port, shared=shared)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigInvalid:
    reason = error.strerror or str(error)
    return ConfigInvalid(
        [Fault(f"cannot listen on {host}:{port}: {reason}", hint="choose another with --host or --port")]
    )


def _banner(loaded: Loaded, host: str, port: int, made_key: str, *, needs_key: bool) -> str:
    """Tells a person where the proxy is and how to try it; for stderr, so that stdout is the log alone."""
    configuration = loaded.configuration
    reached = _REACHED_AT.get(host, host)
    url = f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
    lines = [f"ModelMuxer is listening on {url}  ({configuration.file}, {len(configuration.settings.models)} models)"]
    if configuration.demo:
        why = "no provider key is set" if loaded.chose_demo else "--demo"
        lines.append(f"DEMO ({why}): answers are made up offline and cost nothing; routes, prices, budgets are real.")
        lines.append("Set OPENAI_API_KEY, ANTHROPIC_API_KEY or MISTRAL_API_KEY (or put them in .env) for real answers.")
    if made_key:
        lines.append(
            "This API key was made for this run and is shown only here; set ALLOWED_API_KEYS to have your own:"
        )
        lines.append(f"  export MUXER_KEY={made_key}")
    key, hint = "", ""
    if needs_key:
        key = ' -H "Authorization: Bearer $MUXER_KEY"'
        hint = "" if made_key else " (with one of your API keys in MUXER_KEY)"
    lines += [
        f"Try it{hint}:",
        f"  curl {f'-g {url}' if '[' in url else url}/v1/chat/completions{key} -H 'Content-Type: application/json' \\",
        """    -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}]}'""",
    ]
    return "\n".join(lines)
