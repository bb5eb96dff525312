"""The measure of all ratios: a pass-through of aiohttp's server, its ClientSession and uvloop, and nothing else.

.venv/bin/python -m bench.bare UPSTREAM [PORT]    any number of them may share a port
"""

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, TCPConnector, web

PASSED = ("Authorization", "Content-Type")


async def main(upstream: str, port: int) -> None:
    """Prints its port and serves until it is killed."""
    async with ClientSession(connector=TCPConnector(limit=0), auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {name: request.headers[name] for name in PASSED if name in request.headers}
            async with session.post(upstream, data=await request.read(), headers=headers) as answer:
                kind = {"Content-Type": answer.headers["Content-Type"]}
                if "text/event-stream" not in kind["Content-Type"]:
                    return web.Response(body=await answer.read(), status=answer.status, headers=kind)
                response = web.StreamResponse(status=answer.status, headers=kind)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        application = web.Application()
        application.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=port != 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 0))
