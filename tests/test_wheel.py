"""The wheel alone: built once, installed beside its dependencies and nothing else, run in an empty folder."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
DEADLINE_S = 30
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=DEADLINE_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `muxer` in an empty folder with an empty environment, from an installation of its own."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=DEADLINE_S)
    site = next(venv.glob("lib/python*/site-packages"))
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    for path in _dependencies(distribution("modelmuxer"), set()):
        (site / path.name).symlink_to(path)
    empty = tmp_path_factory.mktemp("empty")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        # What an installer writes as bin/muxer.
        start = [str(venv / "bin" / "python"), "-c", "import sys; from muxer.__main__ import main; sys.exit(main())"]
        return subprocess.run([*start, *words], cwd=empty, env={}, capture_output=True, text=True, timeout=DEADLINE_S)

    return run


def _dependencies(of: Distribution, seen: set[str]) -> Iterator[Path]:
    """What the declared dependencies of a distribution, extras left out, put into site-packages."""
    for requirement in of.requires or []:
        name = re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()
        if "extra ==" in requirement or name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except ModuleNotFoundError:  # for another platform or Python
            continue
        tops = {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}
        yield from (Path(str(found.locate_file(top))).resolve() for top in sorted(tops))
        yield from _dependencies(found, seen)


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


def test_it_says_its_version(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"modelmuxer {distribution('modelmuxer').version}\n"


def test_the_shipped_file_is_valid_with_its_plugins(run: Run) -> None:
    done = run("check", str(ROOT / "routing.yaml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_explains_itself(run: Run) -> None:
    listed = re.findall(r"^    (\w+) ", run("--help").stdout, re.MULTILINE)
    assert {"serve", "demo", "check"} <= set(listed)
    assert {name: run(name, "--help").returncode for name in listed} == dict.fromkeys(listed, 0)


def test_the_demonstration_runs_to_its_end(run: Run) -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "What is the capital of France?" in done.stdout
