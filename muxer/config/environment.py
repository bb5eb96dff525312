"""Variables: the environment, the `.env` beside the file, and the references to them in the file."""

import hashlib
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from msgspec import Struct

from muxer.errors import ConfigInvalid, Fault

# What the seed's README and `.env.example` hold in the place of a key: copied, but never filled in.
PLACEHOLDERS = frozenset(
    {"sk-your-openai-key-here", "sk-ant-your-anthropic-key-here", "your-mistral-key-here", "your-key"}
)
_LARGEST = 1_000_000
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Filled(Struct, frozen=True):
    """A text with its references filled in: which variables it needs and lacks, or what is no reference."""

    text: str
    has_references: bool = False
    missing: tuple[str, ...] = ()
    malformed: str = ""


def value_of(name: str, variables: Mapping[str, str]) -> str | None:
    """A variable's value without its trailing line break; None when it is unset, empty or a placeholder."""
    value = variables.get(name, "").rstrip("\r\n")
    return value if value.strip() and value not in PLACEHOLDERS else None


def sha256_of(secret: str) -> str:
    """The digest a secret is known by; a variable may hold bytes that are no UTF-8."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def fill(written: str, variables: Mapping[str, str]) -> Filled:
    """Fills in each `${NAME}` and `${NAME:-default}`; `$${` stands for `${` itself."""
    if "${" not in written:
        return Filled(written)
    missing: list[str] = []
    malformed: list[str] = []
    references = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal references
        if match[0] == "$${":
            return "${"
        references += 1
        name = _NAME.fullmatch(match[1] or "")
        if name is None:
            malformed.append(match[0])
            return ""
        value = value_of(name[1], variables)
        if value is not None:
            return value
        if name[2] is None:
            missing.append(name[1])
        return name[2] or ""

    text = _REFERENCE.sub(replace, written)
    return Filled(text, references > 0, tuple(dict.fromkeys(missing)), malformed[0] if malformed else "")


def read_dotenv(path: Path) -> bytes | None:
    """The bytes of a `.env` file, None where there is none. Raises ConfigInvalid."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigInvalid([Fault(f"cannot be read: {error.strerror}", file=str(path))]) from error
    if len(data) > _LARGEST:
        raise ConfigInvalid([Fault("larger than 1 MB", file=str(path))])
    return data


def with_dotenv(environ: Mapping[str, str], data: bytes | None, path: Path) -> dict[str, str]:
    """The environment over the variables of a `.env` file, if there is one. Raises ConfigInvalid."""
    if data is None:
        return dict(environ)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Not chained: the error holds the file's bytes, which are secrets.
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid([Fault("not UTF-8", str(path), line, 1, hint="save it as UTF-8")]) from None
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None} | dict(environ)
