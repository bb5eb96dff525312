"""How a request through a running proxy grows with idle connections and the length of its prompt, and what it costs
where everything is large at once.

It has no command; bench/growth.py uses it. Microseconds of CPU of the process, and its memory.
"""

import http.client
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench.filled import key_of
from bench.gateways import Gateway, bare, muxer
from bench.growth_decision import with_models, with_routes
from bench.growth_store import Grown
from bench.measures import BODY, cpu, memory
from bench.native import KEY, LOAD_CORE, compiled, load, running
from bench.steps import PROSE

AT_ONCE, LARGE_AT_ONCE = 64, 16
_SPARE = 400  # files for all else, and connections that the server keeps for itself
_ROUTES, _MODELS = 1_000, 500


class Served:
    """A proxy and a bare pass-through before one mock upstream; what is measured of them goes to `found`."""

    def __init__(self, stack: ExitStack, seconds: float, found: Grown, folder: Path) -> None:
        self.program = compiled(folder)
        _, self.upstream = stack.enter_context(running([str(self.program), "serve", "200", "5000"], LOAD_CORE))
        self.seconds = seconds
        self.found = found
        self.folder = folder

    def us(self, gateway: Gateway, body: str = BODY, connections: int = AT_ONCE, key: str = KEY) -> float:
        """CPU of one request."""
        before = cpu(gateway)
        seen = load(self.program, gateway.port, body, connections, self.seconds, key=key)
        return (cpu(gateway) - before) / seen.answered * 1e6

    def note(self, what: str, count: int, value: float) -> None:
        """Keeps the least of the rounds."""
        known = self.found.setdefault(what, {})
        known[count] = min(known.get(count, float("inf")), value)


def measured(
    rounds: int, seconds: float, idle: list[int], full: Path | None, rows: int, note: Callable[[str], None]
) -> Grown:
    """All of it; `full` is the folder of a store with so many `rows` and as many keys."""
    found: Grown = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = Served(stack, seconds, found, folder)
        plain = stack.enter_context(muxer("muxer", served.upstream, folder / "plain"))
        through = stack.enter_context(bare(served.upstream))
        for number in range(rounds):
            note(f"round {number + 1} of {rounds}: idle connections, prompts")
            for count in idle:
                with connected(plain.port, count) as had:
                    served.note("serve: idle connections", max(1, had), served.us(plain))
                    served.note("memory MB: idle connections", max(1, had), memory(plain))
            for size in (1_000, 10_000, 100_000, 1_000_000):
                _prompt(served, plain, through, size)
        if full is not None:
            note(f"everything at once: {rows:,} records")
            _everything(served, plain, full, rows, rounds)
    return found


def _prompt(served: Served, plain: Gateway, through: Gateway, size: int) -> None:
    prompt = (PROSE * (size // len(PROSE) + 1))[:size]
    path = served.folder / "body.json"
    path.write_bytes(msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": prompt}]}))
    served.note("serve: bytes of the prompt", size, served.us(plain, f"@{path}", LARGE_AT_ONCE))
    served.note("bare: bytes of the prompt", size, served.us(through, f"@{path}", LARGE_AT_ONCE))
    served.note("memory MB: bytes of the prompt", size, memory(plain))


def _everything(served: Served, plain: Gateway, full: Path, rows: int, rounds: int) -> None:
    """A proxy with many routes, models, keys and records beside the plain one, in turns."""

    def changed(text: str) -> str:
        return with_models(with_routes(text, _ROUTES), _MODELS)

    with muxer("full", served.upstream, full, changed=changed) as large:
        for _ in range(rounds):
            served.note("serve: all at once, by records", 1, served.us(plain))
            served.note("serve: all at once, by records", rows, served.us(large, key=key_of(7)))
        served.note("memory MB: all at once, by records", 1, memory(plain))
        served.note("memory MB: all at once, by records", rows, memory(large))


@contextmanager
def connected(port: int, count: int) -> Iterator[int]:
    """Connections that were served once and are kept open; as many as files allow, which is how many there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard // 2 - _SPARE)  # the server counts one more to an upstream for each
    opened: list[http.client.HTTPConnection] = []
    try:
        for _ in range(count):
            one = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            one.request("GET", "/livez")
            one.getresponse().read()
            opened.append(one)
        time.sleep(0.1)
        yield count
    finally:
        for one in opened:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
