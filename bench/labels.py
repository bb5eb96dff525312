"""Labelled prompts through a running proxy: which label went down which route.

.venv/bin/muxer serve --demo --port 8123 &
.venv/bin/python -m bench.labels labelled_prompts.jsonl.gz --url http://127.0.0.1:8123
"""

import argparse
import asyncio
import gzip
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp

AT_ONCE = 16


async def main() -> None:
    """Prints the table, and how the traps went (simple and general prompts with a keyword in them)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="JSON lines, gzipped: prompt, label, trap")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="none")
    arguments = parser.parse_args()
    with gzip.open(arguments.data, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    routed: Counter[tuple[str, str]] = Counter()
    trapped: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)
    begun = time.perf_counter()

    async def ask(session: aiohttp.ClientSession, row: dict[str, str]) -> None:
        body = {"messages": [{"role": "user", "content": row["prompt"]}], "max_tokens": 64}
        async with gate, session.post(f"{arguments.url}/v1/chat/completions", json=body) as response:
            route = response.headers.get("x-muxer-route", str(response.status))
            routed[row["label"], route] += 1
            if row.get("trap"):
                trapped[route] += 1

    headers = {"Authorization": f"Bearer {arguments.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(ask(session, row) for row in rows))
    seconds = time.perf_counter() - begun
    labels, routes = sorted({label for label, _ in routed}), sorted({route for _, route in routed})
    print(f"{'label':<10}" + "".join(f"{route:>10}" for route in routes))
    for label in labels:
        print(f"{label:<10}" + "".join(f"{routed[label, route]:>10}" for route in routes))
    print(f"{'traps':<10}" + "".join(f"{trapped[route]:>10}" for route in routes))
    print(f"{len(rows)} prompts in {seconds:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
