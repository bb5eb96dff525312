"""An installation of its own: wheels in an empty environment, beside the dependencies they declare and nothing else."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

DEADLINE_S = 30


def build(source: Path, folder: Path) -> Path:
    """The wheel of a project, built as a release is."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=DEADLINE_S)
    (built,) = folder.glob("*.whl")
    return built


class Installation:
    """A virtual environment with some wheels; what it runs has an empty environment and works in `folder`."""

    def __init__(self, venv: Path, folder: Path, *wheels: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=DEADLINE_S)
        self.python = venv / "bin" / "python"
        self.folder = folder
        self._site = next(venv.glob("lib/python*/site-packages"))
        for wheel in wheels:
            self.install(wheel)
        for path in _dependencies(distribution("modelmuxer"), set()):
            (self._site / path.name).symlink_to(path)

    def install(self, wheel: Path) -> None:
        """Puts a wheel into the environment, as an installer would."""
        with ZipFile(wheel) as archive:
            archive.extractall(self._site)

    def muxer(self, *words: str) -> list[str]:
        """The command line of `muxer`, as an installer's bin/muxer runs it."""
        return [str(self.python), "-c", "import sys; from muxer.__main__ import main; sys.exit(main())", *words]

    def __call__(self, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs `muxer` to its end."""
        environment: Mapping[str, str] = variables
        return subprocess.run(
            self.muxer(*words), cwd=self.folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
        )


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
