"""`muxer serve`: runs the proxy until it is told to stop."""

import argparse
import asyncio
import ipaddress
import signal
import sys
import time

from pathlib import Path


import uvloop
from aiohttp import web

from muxer.assemble import assemble
from muxer.cli.configuration import Loaded, read
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault
from muxer.log import JSONLog
from muxer.server import Server

KEEPALIVE_S = 75.0  # longer than the 60 s after which common load balancers drop idle connections


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one")
    parser.add_argument("--host", help="address to listen on, instead of server.listen")
    parser.add_argument("--port", type=int, help="port to listen on, instead of server.listen")
    parser.add_argument("--demo", action="store_true", help="answer offline: no key, no network, all else real")


def run(arguments: argparse.Namespace) -> int:
    """Serves; 0 after a proper stop, 2 when it could not start."""
    try:
        loaded = read(arguments.config, demo=arguments.demo, may_choose_demo=True)
        host, port = _address(loaded.configuration, arguments.host, arguments.port)
        _refuse_open_door(loaded.configuration, host)
        uvloop.run(_serve(loaded, host, port))
    except ConfigInvalid as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port", file=sys.stderr)
        return 2
    return 0


def _address(configuration: Configuration, host: str | None, port: int | None) -> tuple[str, int]:
    listen_host, _, listen_port = configuration.settings.server.listen.rpartition(":")
    return host or listen_host.strip("[]"), int(listen_port) if port is None else port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_open_door(configuration: Configuration, host: str) -> None:
    """A public address without keys would give everybody the providers' money (RELIABILITY 4, TLS)."""
    if not is_loopback(host) and not configuration.settings.keys:
        raise ConfigInvalid([
            Fault(
                f"will not listen on {host} without API keys: anybody who reaches it could spend your providers' money",
                hint="set ALLOWED_API_KEYS or `keys:` in routing.yaml, or listen on 127.0.0.1",
            )
        ])


async def _serve(loaded: Loaded, host: str, port: int) -> None:
    configuration = loaded.configuration
    log = JSONLog(sys.stdout.buffer, time.time, "debug" if configuration.debug else "info")
    for warning in configuration.warnings:
        log("warning", "configuration", message=str(warning))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with assemble(configuration, loaded.table, log) as assembly:
        server = Server(assembly, is_loopback=is_loopback(host))
        grace_s = configuration.settings.server.grace_s
        runner = web.AppRunner(
            server.application(),
            access_log=None,
            handler_cancellation=False,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=grace_s,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, reuse_address=True)
            await site.start()
            _banner(loaded, host, runner.addresses[0][1])
            await stop.wait()
            server.is_ready = False
            log("info", "stopping", in_flight=assembly.parts.in_flight.count, grace_s=grace_s)
        finally:
            await runner.cleanup()


def _banner(loaded: Loaded, host: str, port: int) -> None:
    """Tells a person where the proxy is and how to try it; on stderr, so that stdout is the log alone."""
    configuration = loaded.configuration
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else f'[{host}]' if ':' in host else host}:{port}"  # noqa: S104  # compared, not bound
    key = ' -H "Authorization: Bearer $YOUR_KEY"' if configuration.settings.keys else ""
    lines = [f"ModelMuxer is listening on {url}  ({configuration.file}, {len(configuration.settings.models)} models)"]
    if configuration.demo:
        why = "no provider key is set" if loaded.chose_demo else "--demo"
        lines.append(f"DEMO ({why}): answers are made up offline and cost nothing; routes, prices, budgets are real.")
        lines.append("Set OPENAI_API_KEY, ANTHROPIC_API_KEY or MISTRAL_API_KEY (or put them in .env) for real answers.")
    lines += [
        "Try it:",
        f"  curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' \\",
        """    -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}]}'""",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
