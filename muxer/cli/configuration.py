"""Which file a command means, and what is in it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from msgspec import Struct

from muxer.config.contents import Contents, read_contents
from muxer.config.load import has_key, load
from muxer.config.settings import Configuration
from muxer.plugins import find_kinds
from muxer.prices import PriceTable, load_prices

USUAL = Path("routing.yaml")
WORDS_OF_USUAL = "default: routing.yaml here, else the built-in one"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declares the word that says which file is meant."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=WORDS_OF_USUAL)


class Loaded(Struct, frozen=True):
    """A configuration and the price table it was checked with; `chose_demo` when no provider has a key."""

    configuration: Configuration
    table: PriceTable
    chose_demo: bool = False


class Origin:
    """The file a process works by: the one named, else `routing.yaml` here, else the built-in one with relative paths
    from here. Which of them is settled at once, so that a file that is away for a moment is not another."""

    def __init__(self, path: Path | None, *, demo: bool = False) -> None:
        self._path = path or (USUAL if USUAL.exists() else None)
        self._demo = demo
        self._environ = dict(os.environ)
        self.table = load_prices()

    def contents(self) -> Contents:
        """What it says now. Raises ConfigInvalid."""
        with self._file() as (file, folder):
            return read_contents(file, folder)

    def load(self, contents: Contents | None = None, *, may_choose_demo: bool = False) -> Loaded:
        """What those contents mean, or those of now. Raises ConfigInvalid. `may_choose_demo`: with no key for any
        provider, the offline ones play them."""
        configuration = self._configuration(contents, demo=self._demo)
        if may_choose_demo and not self._demo and not has_key(configuration):
            return Loaded(self._configuration(contents, demo=True), self.table, chose_demo=True)
        return Loaded(configuration, self.table)

    def _configuration(self, contents: Contents | None, *, demo: bool) -> Configuration:
        with self._file() as (file, folder):
            return load(file, self._environ, find_kinds, table=self.table, demo=demo, contents=contents, folder=folder)

    @contextmanager
    def _file(self) -> Iterator[tuple[Path, Path | None]]:
        """The file, and where its relative paths begin when that is not beside it."""
        if self._path is not None:
            yield self._path, None
            return
        with as_file(files("muxer") / "data" / "routing.yaml") as built_in:
            yield built_in, Path.cwd()


def read(path: Path | None, *, demo: bool = False, may_choose_demo: bool = False) -> Loaded:
    """What the file a command means says now: see Origin. Raises ConfigInvalid."""
    return Origin(path, demo=demo).load(may_choose_demo=may_choose_demo)
