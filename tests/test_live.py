"""A configuration that changes while it serves: what is kept, what is drained, and what a faulty file does."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from muxer.live import Live, watching
from muxer.testing import Fail, Say, Stall
from tests.proxy import PATIENCE_S, QUESTION, OpenProxy, Proxy, events
from tests.sockets import served

STREAM = {"messages": QUESTION, "stream": True}
ROUTE_TO_LARGE = "[{name: dear, use: [large]}]"
TWO = """
  main: {kind: openai, api_key: sk-upstream, base_url: "UPSTREAM/v1"}
  other: {kind: openai, api_key: sk-other, base_url: "UPSTREAM/v1"}"""
MODELS = """
  small: {provider: main, name: small-1, price_usd_per_million: {input: 1, output: 2}}
  large: {provider: other, name: large-1, price_usd_per_million: {input: 10, output: 20}}"""


@asynccontextmanager
async def watched(proxy: Proxy) -> AsyncIterator[None]:
    async with watching(proxy.live, poll_s=0.01):
        yield


def components(live: Live) -> dict[str, int]:
    return {what: id(held) for what, held in live.assembly.held.items()}


async def test_a_new_route_serves_the_next_request(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    before = await opened.record(await opened.chat())
    opened.write(routes=ROUTE_TO_LARGE)
    assert (await opened.live.reload()).status == "reloaded"
    after = await opened.record(await opened.chat())
    assert [(one.route, one.model) for one in (before, after)] == [("default", "small"), ("dear", "large")]
    assert before.config != after.config == opened.assembly.configuration.digest


async def test_a_new_limit_a_new_key_and_a_dropped_key_are_in_force(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    await opened.chat()
    opened.write(limits="[{per: user, daily_usd: 0}]", keys="[{name: alice-key, secret: sk-new, user: alice}]")
    await opened.live.reload()
    assert [(await opened.chat(key)).status for key in ("sk-alice", "sk-new")] == [401, 402]


async def test_what_did_not_change_goes_on(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), providers=TWO, models=MODELS)
    before = components(opened.live)
    opened.write(providers=TWO.replace("sk-other", "sk-another"), models=MODELS, routes=ROUTE_TO_LARGE)
    await opened.live.reload()
    after = components(opened.live)
    assert {what for what in before if before[what] != after[what]} == {"provider other"}
    await opened.chat()
    assert opened.upstream.calls[-1].headers["Authorization"] == "Bearer sk-another"


async def test_secrets_in_dotenv_are_rotated_and_told_nowhere(proxy: OpenProxy) -> None:
    providers, keys = TWO.replace("sk-other", '"${OTHER:-sk-none}"'), '[{name: alice-key, secret: "${ALICE:-sk-none}"}]'
    opened = await proxy(Say(), providers=providers, models=MODELS, keys=keys)
    dotenv, seen, main = opened.origin.path.with_name(".env"), [], opened.assembly.held["provider main"]
    for number in (1, 2):
        dotenv.write_text(f"OTHER=sk-upstream-{number}\nALICE=sk-alice-{number}\n")
        assert (await opened.live.reload()).status == "reloaded"
        statuses = [(await opened.chat(f"sk-alice-{one}", model="large")).status for one in (1, 2)]
        seen.append((statuses, opened.upstream.calls[-1].headers["Authorization"]))
    assert seen == [([200, 401], "Bearer sk-upstream-1"), ([401, 200], "Bearer sk-upstream-2")]
    assert opened.assembly.held["provider main"] is main
    assert "sk-upstream-" not in str(opened.log.lines) and "sk-alice-" not in str(opened.log.lines)


async def test_a_connection_outlives_a_reload_until_its_provider_changes(proxy: OpenProxy) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        answer = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}'
        with suppress(asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))

    async with served(serve) as url:
        providers = TWO.replace("UPSTREAM/v1", f"{url}v1")
        opened = await proxy(providers=providers, models=MODELS)
        for changed in (providers, providers.replace("sk-other", "sk-new"), providers.replace("sk-upstream", "sk-new")):
            opened.write(providers=changed, models=MODELS, routes=ROUTE_TO_LARGE)
            await opened.live.reload()
            assert (await opened.chat(model="small")).status == 200
            assert connections == (2 if "sk-upstream" not in changed else 1)


async def test_a_breaker_outlives_a_reload_until_its_provider_changes(proxy: OpenProxy) -> None:
    opened = await proxy(Fail(429, {"Retry-After": "100"}))
    await opened.chat(model="small")
    opened.write(routes=ROUTE_TO_LARGE)
    await opened.live.reload()
    assert (await opened.chat(model="small")).status == 503
    opened.write(providers=TWO.replace("sk-upstream", "sk-rotated"))
    await opened.live.reload()
    opened.upstream.script(None, Say())
    assert (await opened.chat(model="small")).status == 200


async def test_a_stream_ends_by_the_configuration_it_began_with(proxy: OpenProxy) -> None:
    opened = await proxy(Stall(after_pieces=2, then=Say(text="all of it")), providers=TWO, models=MODELS)
    dropped = opened.assembly.held["provider main"]
    async with await opened.chat(stream=True) as response:
        opened.write(
            providers='{other: {kind: openai, api_key: sk-other, base_url: "UPSTREAM/v1"}}',
            models="{large: {provider: other, name: large-1, price: free}}",
            routes=ROUTE_TO_LARGE,
        )
        assert (await opened.live.reload()).status == "reloaded"
        assert not dropped.task.done()
        opened.upstream.gate.set()
        assert (await events(response)).text == "all of it"
    await asyncio.wait_for(dropped.task, PATIENCE_S)
    record = await opened.last_record()
    assert (record.state, record.model) == ("done", "small")


async def test_a_faulty_file_changes_nothing_and_is_told_with_its_lines(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), plugins="[openai, prometheus, sqlite]")
    before = components(opened.live)
    opened.write(plugins="[openai, prometheus, sqlite]", routes="[{name: all, use: [smal]}]")
    async with opened.client.post("/admin/reload", headers={"x-api-key": "sk-root"}) as response:
        refused = (await response.json())["error"]
    assert (response.status, refused["code"]) == (422, "config_refused")
    assert "routing.yaml:8:28: routes[0].use[0]: no model 'smal'" in refused["message"]
    assert "routing.yaml:8:28:" in str((await opened.log.wait_for("config_invalid"))["fault"])
    assert components(opened.live) == before
    async with opened.client.get("/readyz") as response:
        assert (response.status, (await response.json())["configuration"]) == (200, "invalid")
    page = await (await opened.client.get("/metrics")).text()
    assert "muxer_config_reload_failures_total 1.0" in page
    assert (await opened.chat()).status == 200


async def test_a_file_that_is_valid_again_is_no_fault(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    opened.write(routes="[]")
    opened.origin.path.write_text("version: 2")
    assert (await opened.live.reload()).status == "invalid"
    opened.write()
    assert (await opened.live.reload()).status == "unchanged"
    assert (await opened.get("/readyz"))["configuration"] == "ok"


async def test_what_needs_a_restart_is_shown_and_the_rest_applied(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    opened.write(server="{grace_s: 1}", store="{kind: sqlite, path: other.db}", routes=ROUTE_TO_LARGE)
    async with opened.client.post("/admin/reload", headers={"x-api-key": "sk-root"}) as response:
        assert (await response.json())["needs_restart"] == ["server", "store"]
    assert (await opened.get("/readyz"))["configuration"] == "needs restart"
    assert (await opened.record(await opened.chat())).route == "dear"
    assert not (opened.origin.path.parent / "other.db").exists()


async def test_only_admins_reload(proxy: OpenProxy) -> None:
    opened = await proxy()
    async with opened.client.post("/admin/reload", headers={"x-api-key": "sk-alice"}) as response:
        assert response.status == 403


async def test_a_plugin_named_anew_serves_and_one_no_longer_named_is_gone(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    opened.write(plugins="[openai, prometheus, sqlite]")
    await opened.live.reload()
    await opened.chat()
    page = await (await opened.client.get("/metrics")).text()
    assert f'muxer_config_info{{config="{opened.assembly.configuration.digest}"}} 1.0' in page
    assert 'muxer_requests_total{model="small"' in page
    opened.write()
    await opened.live.reload()
    assert (await opened.client.get("/metrics")).status == 404


async def test_only_the_configuration_in_force_is_shown(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, prometheus, sqlite]")
    opened.write(plugins="[openai, prometheus, sqlite]", routes=ROUTE_TO_LARGE)
    await opened.live.reload()
    page = await (await opened.client.get("/metrics")).text()
    shown = [line for line in page.splitlines() if line.startswith("muxer_config_info")]
    assert shown == [f'muxer_config_info{{config="{opened.assembly.configuration.digest}"}} 1.0']


async def test_a_component_that_cannot_be_opened_leaves_all_as_it_was(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), plugins="[openai, sqlite, jsonl]")
    before, open_before = components(opened.live), len(opened.assembler.holdings)
    opened.write(
        plugins="[openai, sqlite, jsonl]",
        providers=TWO,
        sinks="[{kind: jsonl, path: /dev/null/records.jsonl, required: true}]",
    )
    assert (await opened.live.reload()).status == "invalid"
    assert components(opened.live) == before
    await until_open(opened, open_before)


async def until_open(proxy: Proxy, count: int) -> None:
    """Waits until so many components are open."""
    async with asyncio.timeout(PATIENCE_S):
        while len(proxy.assembler.holdings) != count:
            await asyncio.sleep(0.001)


async def test_a_renamed_file_is_taken_over_once(proxy: OpenProxy) -> None:
    opened = await proxy(Say())
    async with watched(opened):
        opened.write(routes=ROUTE_TO_LARGE)
        await opened.log.wait_for("config_reloaded")
        os.utime(opened.origin.path)
        opened.write(routes=ROUTE_TO_LARGE, strict_params="true")
        await opened.log.wait_for("config_reloaded", 2)
    assert len(opened.origin.taken_over) == 2


async def test_a_config_map_is_taken_over_when_its_link_is_swapped(proxy: OpenProxy, tmp_path: Path) -> None:
    opened = await proxy(Say())
    here = opened.origin.path.read_text()
    for name, text in (("one", here), ("two", here.replace("[small, large]", "[large]"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routing.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    opened.origin.path.unlink()
    opened.origin.path.symlink_to("..data/routing.yaml")
    async with watched(opened):
        (tmp_path / "..data_tmp").symlink_to("two")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await opened.log.wait_for("config_reloaded")
    assert (await opened.record(await opened.chat())).model == "large"


async def test_a_secret_in_a_file_is_taken_over_when_it_is_replaced(proxy: OpenProxy, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first-key\n")
    main = """
  main: {kind: openai, api_key: "${file:key}", base_url: "UPSTREAM/v1"}"""
    opened = await proxy(Say(), Say(), providers=main)
    assert (await opened.chat()).status == 200
    async with watched(opened):
        (tmp_path / "new").write_text("second-key\n")
        (tmp_path / "new").replace(tmp_path / "key")
        await opened.log.wait_for("config_reloaded")
    assert (await opened.chat()).status == 200
    sent = [call.headers["Authorization"] for call in opened.upstream.calls]
    assert sent == ["Bearer first-key", "Bearer second-key"]
    (tmp_path / "key").unlink()
    assert (await opened.live.reload()).status == "invalid" and (await opened.chat()).status == 200
    assert "second-key" not in str(opened.log.lines)


async def test_reloads_under_load_lose_no_request_and_leak_nothing(proxy: OpenProxy) -> None:
    opened = await proxy(Say(), providers=TWO, models=MODELS)
    await opened.chat()
    tasks, files, count = own_tasks(), open_files(), len(opened.assembler.holdings)
    is_over, statuses = asyncio.Event(), list[int]()

    async def load() -> None:
        while not is_over.is_set():
            response = await opened.chat(model="auto", stream=bool(len(statuses) % 2))
            await response.read()
            statuses.append(response.status)

    loads = [asyncio.create_task(load()) for _ in range(4)]
    outcomes = []
    for number in range(100):
        routes = "[{name: default, use: [large, small]}]"
        opened.write(providers=TWO.replace("sk-other", f"sk-{number}"), models=MODELS, routes=routes)
        outcomes.append((await opened.live.reload()).status)
        opened.write(providers=TWO, models=MODELS, routes=f"[{{name: bad-{number}, use: [nobody]}}]")
        outcomes.append((await opened.live.reload()).status)
    is_over.set()
    await asyncio.gather(*loads)
    assert outcomes == ["reloaded", "invalid"] * 100
    assert set(statuses) == {200}
    await until_open(opened, count)
    assert own_tasks() <= tasks
    # Some connections of the four clients, and to the upstream, stay open; of a leak there were hundreds.
    assert open_files() <= files + 50
    assert (await opened.accounts()).held == 0


def own_tasks() -> int:
    """The tasks of this process but those that there are for each connection to the scripted upstream."""
    return sum("RequestHandler.start(" not in repr(task) for task in asyncio.all_tasks())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
