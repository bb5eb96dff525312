"""Variables: the environment, the `.env` beside the file, and the references to them in the file."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from dotenv import dotenv_values
from msgspec import Struct

from muxer.errors import ConfigInvalid, Fault

# What the seed's README and `.env.example` hold in the place of a key: copied, but never filled in.
PLACEHOLDERS = frozenset(
    {"sk-your-openai-key-here", "sk-ant-your-anthropic-key-here", "your-mistral-key-here", "your-key"}
)
_LARGEST = 1_000_000
_LARGEST_SECRET = 64_000
_IN_FILES = re.compile(rb"\$\{file:([^{}]*)\}")
_FILE = "file:"
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class SecretFile(Struct, frozen=True):
    """What a file holds that `${file:PATH}` names, or why that cannot be used. `is_open`: others may read it, too."""

    data: bytes = b""
    problem: str = ""
    is_open: bool = False

    def __repr__(self) -> str:
        return f"SecretFile(problem={self.problem!r}, is_open={self.is_open})"


class Filled(Struct, frozen=True):
    """A text with its references filled in: which variables it needs and lacks, which files cannot be used and why, or
    what is no reference."""

    text: str
    has_references: bool = False
    missing: tuple[str, ...] = ()
    unusable: str = ""
    malformed: str = ""


_NO_FILES: Mapping[str, SecretFile] = MappingProxyType({})


def value_of(name: str, variables: Mapping[str, str]) -> str | None:
    """A variable's value without its trailing line break; None when it is unset, empty or a placeholder."""
    value = variables.get(name, "").rstrip("\r\n")
    return value if value.strip() and value not in PLACEHOLDERS else None


def sha256_of(secret: str) -> str:
    """The digest a secret is known by; a variable may hold bytes that are no UTF-8."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def fill(written: str, variables: Mapping[str, str], files: Mapping[str, SecretFile] = _NO_FILES) -> Filled:
    """Fills in each `${NAME}`, `${NAME:-default}` and `${file:PATH}`; `$${` stands for `${` itself."""
    if "${" not in written:
        return Filled(written)
    missing: list[str] = []
    malformed: list[str] = []
    unusable: list[str] = []
    references = 0

    def of_file(path: str) -> str:
        text, problem = _text_of(files.get(path, SecretFile(problem="it was not read")))
        if problem:
            unusable.append(f"{path}: {problem}")
        return text

    def replace(match: re.Match[str]) -> str:
        nonlocal references
        if match[0] == "$${":
            return "${"
        references += 1
        if (match[1] or "").startswith(_FILE):
            return of_file(match[1].removeprefix(_FILE))
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
    return Filled(
        text,
        has_references=references > 0,
        missing=tuple(dict.fromkeys(missing)),
        unusable="; ".join(dict.fromkeys(unusable)),
        malformed=malformed[0] if malformed else "",
    )


def file_references(data: bytes) -> list[str]:
    """The paths that a configuration, or a text of it, names in `${file:PATH}`."""
    return list(dict.fromkeys(path.decode("utf-8", "replace") for path in _IN_FILES.findall(data)))


def read_secret(folder: Path, path: str) -> SecretFile:
    """A file that holds one secret; a relative path starts in that folder. Never raises."""
    try:
        with open(folder / path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return SecretFile(problem="not a plain file")
            # Docker and Kubernetes mount secrets for all to read, and for nobody to write.
            is_open = bool(found.st_mode & stat.S_IROTH) and not os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY
            data = file.read(_LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        return SecretFile(problem=getattr(error, "strerror", None) or "not a path")
    if len(data) > _LARGEST_SECRET:
        return SecretFile(problem=f"larger than {_LARGEST_SECRET:_} bytes")
    return SecretFile(data, is_open=is_open)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for who writes into it


def _text_of(file: SecretFile) -> tuple[str, str]:
    """What the file says without its trailing line break, and why it cannot be used."""
    if file.problem:
        return "", file.problem
    try:
        text = file.data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        return "", "not UTF-8"
    return text, "" if text.strip() else "empty"


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
