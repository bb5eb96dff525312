"""The plugin of docs/write-a-plugin.md: built as a package of its own, installed beside the wheel, driven over HTTP."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.installed import Installation, build

PAGE = (Path(__file__).parent.parent / "docs" / "write-a-plugin.md").read_text()
PATIENCE_S = 30
KEY = {"ACME_API_KEY": "acme-secret"}


def files(*, first: bool = False) -> dict[str, str]:
    """The files of the page by their names: the last of a name, or the first."""
    found: dict[str, str] = {}
    for name, text in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL):
        if not first or name not in found:
            found[name] = text
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as a reader has them at the end."""
    folder = tmp_path_factory.mktemp("acme")
    for name, text in files().items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("run")
    for name in ("routing.yaml", "acme_server.py"):
        (folder / name).write_text(files()[name])
    return Installation(tmp_path_factory.mktemp("venv"), folder, wheel, build(project, tmp_path_factory.mktemp("dist")))


@asynccontextmanager
async def running(command: list[str], folder: Path, ready: str) -> AsyncIterator[str]:
    """A process, up to the line that says it is ready; gives what is in its first group."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=KEY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        said = ""
        async with asyncio.timeout(PATIENCE_S):
            while (found := re.search(ready, said)) is None:
                line = (await process.stdout.readline()).decode()
                assert line, f"it ended: {said}"
                said += line
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


@asynccontextmanager
async def acme(installed: Installation) -> AsyncIterator[str]:
    """Acme's server, told to take any free port."""
    start = (
        "import asyncio; from aiohttp import web; from acme_server import make_app\n"
        "async def main():\n"
        "    runner = web.AppRunner(make_app([])); await runner.setup()\n"
        "    await web.TCPSite(runner, 'localhost', 0).start()\n"
        "    print('port', runner.addresses[0][1], flush=True); await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    async with running([str(installed.python), "-c", start], installed.folder, r"port (\d+)\n") as port:
        yield f"http://localhost:{port}"


async def asked(curl: str, address: str) -> dict[str, Any]:
    """What the page's curl gets, sent to another address."""
    words = shlex.split(curl)
    body, kind = words[words.index("-d") + 1], words[words.index("-H") + 1].partition(": ")
    async with ClientSession() as session:
        url = words[1].replace("http://localhost:8000", address)
        async with session.post(url, data=body, headers={kind[0]: kind[2]}) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())


@asynccontextmanager
async def served(installed: Installation, folder: Path, at: str) -> AsyncIterator[str]:
    """The proxy on that folder's file, with Acme at that address."""
    yaml = (folder / "routing.yaml").read_text()
    yaml = yaml.replace("http://localhost:8099", at).replace("kind: acme,", f'kind: acme, base_url: "{at}",')
    (folder / "routing.yaml").write_text(yaml)
    command = installed.muxer("serve", "--port", "0")
    async with running(command, folder, r"(http://127\.0\.0\.1:\d+)") as address:
        yield address


async def test_the_installed_plugin_serves_routes_and_reports(installed: Installation) -> None:
    async with acme(installed) as at, served(installed, installed.folder, at) as address:
        answer = await asked(files()["curl"], address)
        assert answer["choices"][0]["message"]["content"] == "HELLO FROM ACME"
        assert answer["router_metadata"]["route"] == "angry" and answer["model"] == "acme-calm"
        assert answer["router_metadata"]["estimated_cost"] == pytest.approx((15 * 2 + 3 * 9) / 1e6)
        async with asyncio.timeout(PATIENCE_S), ClientSession() as session:
            while True:
                async with session.get(f"{at}/audit") as response:
                    records = await response.json()
                if records:
                    break
                await asyncio.sleep(0.05)
    (record,) = records
    assert record["id"] == answer["router_metadata"]["request_id"] and record["signals"]["shouting"] == 1.0


async def test_as_a_module_beside_the_file_it_works_before_it_is_packaged(
    installation: Installation, installed: Installation, tmp_path: Path
) -> None:
    for name, text in files(first=True).items():
        (tmp_path / name).write_text(text)
    async with acme(installed) as at, served(installation, tmp_path, at) as address:
        answer = await asked(files(first=True)["curl"], address)
    assert answer["choices"][0]["message"]["content"] == "HELLO FROM ACME"


def test_it_is_listed_with_its_settings_and_its_file_is_checked(installed: Installation) -> None:
    listed = {plugin["name"]: plugin for plugin in json.loads(installed("plugins", "--json", **KEY).stdout)}
    assert listed["acme"]["package"] == "modelmuxer-acme 1.0.0" and listed["acme"]["loaded"]
    offers = [f"{offer['what']} {offer['kind']}" for offer in listed["acme"]["offers"]]
    assert offers == ["provider acme", "sink acme-webhook", "signal shouting"]
    checked = installed("check", **KEY)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_without_its_package_the_error_says_how_to_get_it(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text(files()["routing.yaml"])
    done = installation("check", str(tmp_path / "routing.yaml"), **KEY)
    assert "install it: pip install modelmuxer-acme" in done.stdout
    assert done.returncode == 1 and "no plugin 'acme' is installed" in done.stdout


def test_its_own_tests_pass(project: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "asyncio_mode=auto",
        "-p",
        "no:valkey",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run([*command, "test_muxer_acme.py"], cwd=project, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
