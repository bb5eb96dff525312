"""What the file and the `.env` beside it say, as bytes of one moment: what is checked, compared and kept."""

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.config.environment import SecretFile, file_references, read_dotenv, read_secret
from muxer.config.source import LARGEST_BYTES
from muxer.errors import ConfigInvalid, Fault

_READINGS = 5


class Contents(Struct, frozen=True):
    """The bytes of a file, of its `.env`, None where there is none, and of the files that its references name."""

    file: bytes
    dotenv: bytes | None = None
    secrets: dict[str, SecretFile] = msgspec.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes when any byte does."""
        parts = (self.file, b"" if self.dotenv is None else b"." + self.dotenv)
        of_secrets = (msgspec.msgpack.encode((path, secret)) for path, secret in sorted(self.secrets.items()))
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in (*parts, *of_secrets))).hexdigest()


def read_contents(path: Path, folder: Path | None = None) -> Contents:
    """Reads all, the `.env` of `folder` if that is not the file's own. Raises ConfigInvalid.

    They are several files, which may be swapped between two reads (B66): they count once two readings agree.
    """
    found = _reading(path, folder or path.parent)
    for _ in range(_READINGS - 1):
        before, found = found, _reading(path, folder or path.parent)
        if found == before:
            break
    return found


def _reading(path: Path, folder: Path) -> Contents:
    data = _read(path)
    secrets = {name: read_secret(folder, name) for name in file_references(data)}
    return Contents(data, read_dotenv(folder / ".env"), secrets)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except IsADirectoryError as error:
        raise ConfigInvalid([Fault("a directory, not a file", file=str(path), hint="name the file in it")]) from error
    except FileNotFoundError as error:
        hint = "name one that exists, or copy the one of the documentation"
        raise ConfigInvalid([Fault("no such file", file=str(path), hint=hint)]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigInvalid([Fault(f"cannot be read: {reason}", file=str(path))]) from error
