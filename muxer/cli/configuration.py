"""Which file a command means, and what is in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from muxer.config.environment import with_dotenv
from muxer.config.load import has_key, load
from muxer.config.settings import Configuration
from muxer.plugins import find_kinds
from muxer.prices import PriceTable, load_prices

USUAL = Path("routing.yaml")


class Loaded(Struct, frozen=True):
    """A configuration and the price table it was checked with; `chose_demo` when no provider has a key."""

    configuration: Configuration
    table: PriceTable
    chose_demo: bool = False


def read(path: Path | None, *, demo: bool = False, may_choose_demo: bool = False) -> Loaded:
    """Loads a file: the one named, else `routing.yaml` here, else the built-in one with relative paths from here.

    Raises ConfigInvalid. `may_choose_demo`: with no key for any provider, the offline ones play them.
    """
    table, environ = load_prices(), dict(os.environ)
    with _file(path) as (file, folder):
        if folder is not None:
            environ = dict(with_dotenv(environ, folder / ".env"))
        configuration = load(file, environ, find_kinds, table=table, demo=demo)
        chooses = may_choose_demo and not demo and not has_key(configuration)
        if chooses:
            configuration = load(file, environ, find_kinds, table=table, demo=True)
    if folder is not None:
        configuration = replace(configuration, folder=folder)
    return Loaded(configuration, table, chooses)


@contextmanager
def _file(path: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """The file, and where its relative paths begin when that is not beside it."""
    if path is not None or USUAL.exists():
        yield path or USUAL, None
        return
    with as_file(files("muxer") / "data" / "routing.yaml") as built_in:
        yield built_in, Path.cwd()
