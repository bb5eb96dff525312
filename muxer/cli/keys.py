"""`muxer keys`: who may call, kept in the store; a key is shown once, when it is made."""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.text import Text

from muxer import admin
from muxer.cli.configuration import read
from muxer.cli.output import (
    NOTHING,
    Cell,
    Column,
    bad,
    counted,
    good,
    print_error,
    print_json,
    print_note,
    print_table,
    warned,
)
from muxer.cli.recorded import change, duration, fetch
from muxer.config.settings import Configuration
from muxer.errors import InvalidRequest, NotFound
from muxer.keyring import TTL_S
from muxer.keys import NewKey, StoredKey, instant, moment
from muxer.limits import Amounts
from muxer.stores import Store

_COLUMNS = (
    Column("id"),
    Column("name"),
    Column("state"),
    Column("role", is_spare=True),
    Column("user", is_spare=True),
    Column("expires (UTC)", is_spare=True),
    Column("limits", is_spare=True),
    Column("team", is_spare=True),
    Column("models", is_spare=True),
    Column("created (UTC)", is_spare=True),
)
_DOLLARS = ("daily_usd", "monthly_usd", "total_usd")
_COUNTS = ("requests_per_minute", "tokens_per_minute", "burst", "concurrent")


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("name", metavar="NAME", help="stands in records and logs")
    create.add_argument("--user", default="", help="who spends; default: the key's name")
    create.add_argument("--team", default="", help="the team that spends")
    create.add_argument("--tag", action="append", default=[], metavar="TAG", help="of its requests; may be repeated")
    create.add_argument("--model", action="append", default=[], metavar="GLOB", help="it may use; may be repeated")
    create.add_argument("--role", choices=("user", "metrics", "viewer", "admin"), default="user")
    create.add_argument("--expires", type=_when, metavar="WHEN", help="in 12h, 30d, ..., or at 2027-01-31T00:00:00Z")
    for name in _DOLLARS:
        create.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help=f"its own limit, as {name} in the file")
    for name in _COUNTS:
        create.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"as {name} in the file")
    create.add_argument("--hold", choices=("bound", "expected"), help="as hold in the file")
    every = actions.add_parser("list", help="every key ever made, never its secret")
    revoke = actions.add_parser("revoke", help="end a key for good")
    revoke.add_argument("key", metavar="KEY", help="its id, or its name")
    for action in (create, every, revoke):
        action.add_argument(
            "--config", type=Path, metavar="FILE", help="default: routing.yaml here, else the built-in one"
        )
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Makes, lists or revokes; 1 when there is no such key."""
    try:
        configuration = read(arguments.config).configuration
        if arguments.action == "create":
            return _create(configuration, arguments)
        if arguments.action == "revoke":
            return _revoke(configuration, arguments)
        return _list(configuration, arguments)
    except NotFound as error:
        print_error(f"{error.message}; muxer keys list shows them")
        return 1


def _create(configuration: Configuration, arguments: argparse.Namespace, now: Callable[[], float] = time.time) -> int:
    limit = {name: getattr(arguments, name) for name in (*_DOLLARS, *_COUNTS, "hold")}
    limit = {name: value for name, value in limit.items() if value is not None}
    said = {
        "name": arguments.name,
        "user": arguments.user,
        "team": arguments.team,
        "tags": arguments.tag,
        "models": arguments.model,
        "role": arguments.role,
        "expires": _expires(arguments.expires, now()),
        "limits": [limit] if limit else [],
    }
    try:
        asked = admin.decode(msgspec.json.encode(said))
    except UnicodeEncodeError as error:
        raise InvalidRequest("the words are not UTF-8") from error
    in_file = [key.name for key in configuration.settings.keys]
    key, secret, is_first = change(configuration, lambda store: _made(store, in_file, asked, now()))
    if arguments.json:
        print_json({"key": secret, **admin.fields(key, now())})
        return 0
    # On stdout the key alone, so that a script can take it.
    print(secret)
    ends = "" if key.expires_at is None else f", until {moment(key.expires_at)}"
    print_note(
        f"{key.name} (id {key.id}, user {key.user}, role {key.role}{ends}). Keep the key: it is shown only here."
    )
    if is_first and not in_file:
        print_note(f"From now on nobody is served without a key; a proxy that runs knows it within {TTL_S:g} seconds.")
    return 0


async def _made(store: Store, in_file: Sequence[str], asked: NewKey, now: float) -> tuple[StoredKey, str, bool]:
    """The key, its secret, and whether the store had none before."""
    key, secret = await admin.create(store, in_file, asked, now)
    return key, secret, await admin.keeper(store).keys() == [key]


def _when(words: str) -> float | str:
    """A duration in seconds, or the words of an instant."""
    with suppress(argparse.ArgumentTypeError):
        return float(duration(words))
    try:
        instant(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{words!r} is no duration such as 12h or 30d, and no instant: {error}"
        ) from error
    return words


def _expires(when: float | str | None, now: float) -> str | None:
    if not isinstance(when, float):
        return when
    try:
        return moment(now + when)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("expires: is past the year 9999") from error


def _list(configuration: Configuration, arguments: argparse.Namespace, now: Callable[[], float] = time.time) -> int:
    keys = fetch(configuration, lambda store: admin.keeper(store).keys(), list[StoredKey]())
    if arguments.json:
        print_json([admin.fields(key, now()) for key in keys])
        return 0
    if keys:
        print_table(_COLUMNS, [_row(key, now()) for key in keys])
    else:
        print("no keys in the store; muxer keys create NAME makes one")
    if configuration.settings.keys:
        print_note(f"and {counted(len(configuration.settings.keys), 'key')} of the file or ALLOWED_API_KEYS")
    return 0


def _row(key: StoredKey, now: float) -> Sequence[Cell]:
    limits = [" ".join(f"{name}={value}" for name, value in _shown(limit)) for limit in key.limits]
    return [
        key.id,
        key.name,
        _state(admin.state(key, now)),
        key.role,
        key.user,
        NOTHING if key.expires_at is None else moment(key.expires_at)[:16].replace("T", " "),
        ", ".join(limits) or NOTHING,
        key.team or NOTHING,
        " ".join(key.models) or NOTHING,
        moment(key.created_at)[:16].replace("T", " "),
    ]


def _shown(limit: Amounts) -> list[tuple[str, object]]:
    return [(name, value) for name, value in admin.limit_fields(limit).items() if (name, value) != ("hold", "bound")]


def _state(word: str) -> Text:
    return good(word) if word == "active" else warned(word) if word == "expired" else bad(word)


def _revoke(configuration: Configuration, arguments: argparse.Namespace, now: Callable[[], float] = time.time) -> int:
    key = fetch(configuration, lambda store: _revoked(store, arguments.key, now()), None)
    if key is None:
        raise NotFound("no key is in the store")
    if arguments.json:
        print_json(admin.fields(key, now()))
        return 0
    print(f"{key.name} (id {key.id}) is revoked; proxies that run refuse it within {TTL_S:g} seconds")
    return 0


async def _revoked(store: Store, word: str, now: float) -> StoredKey:
    """Revokes the key of that id, else the one of that name that is in force, else the last that was."""
    keys = await admin.keeper(store).keys()
    named = [key.id for key in sorted(keys, key=lambda key: key.revoked_at is None) if key.name == word]
    is_id = any(key.id == word for key in keys)
    return await admin.revoke(store, named[-1] if named and not is_id else word, now)
