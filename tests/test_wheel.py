"""The wheel alone: built once, installed beside its dependencies and nothing else, run in an empty folder."""

import re
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.installed import Installation

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(installation: Installation) -> Installation:
    return installation


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return archive.namelist()


def test_nothing_in_it_runs_by_itself(names: list[str]) -> None:
    hooks = ("sitecustomize.py", "usercustomize.py")
    assert [name for name in names if name.endswith(".pth") or name.rpartition("/")[2] in hooks] == []
    assert [name for name in names if ".data/" in name] == []


def test_it_holds_the_package_its_plugins_and_nothing_else(names: list[str]) -> None:
    tops = {name.partition("/")[0].removesuffix(".py") for name in names if ".dist-info/" not in name}
    plugins = {path.stem for path in (ROOT / "plugins").glob("muxer_*")}
    assert tops == {"muxer"} | plugins


def test_it_holds_types_and_data(names: list[str]) -> None:
    data = {f"muxer/data/{path.name}" for path in (ROOT / "muxer" / "data").iterdir() if path.is_file()}
    assert {"muxer/py.typed"} | data <= set(names)


def test_it_says_its_licence(wheel: Path, names: list[str]) -> None:
    (place,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    with ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(place).decode())
    assert metadata["License-Expression"] == "MIT"
    assert place.replace("METADATA", "licenses/LICENSE") in names


def test_it_says_its_version(run: Installation) -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"modelmuxer {distribution('modelmuxer').version}\n"


def test_the_shipped_file_is_valid_with_its_plugins(run: Installation) -> None:
    done = run("check", str(ROOT / "routing.yaml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_explains_itself(run: Installation) -> None:
    listed = re.findall(r"^    (\w+) ", run("--help").stdout, re.MULTILINE)
    assert {"serve", "demo", "check"} <= set(listed)
    assert {name: run(name, "--help").returncode for name in listed} == dict.fromkeys(listed, 0)


def test_the_demonstration_runs_to_its_end(run: Installation) -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "What is the capital of France?" in done.stdout
