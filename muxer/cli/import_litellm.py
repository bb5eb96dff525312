"""`muxer import-litellm`: a routing.yaml from LiteLLM's config.yaml, and what became of each key of it."""

import argparse
import json
import sys
from collections.abc import Iterable
from errno import EINVAL, EPERM
from pathlib import Path

import msgspec

from muxer.cli.output import counted, print_error, print_note
from muxer.config.source import LARGEST_BYTES
from muxer.litellm_import.convert import Converted, convert
from muxer.plugins import installed
from muxer.prices import load_prices


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("file", type=Path, metavar="CONFIG", help="LiteLLM's config.yaml")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write the result; default: stdout")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what became of each key as JSON too")
    parser.add_argument("--force", action="store_true", help="write over files that exist")


def run(arguments: argparse.Namespace) -> int:
    """Writes the result and the report; 1 if the input has errors, 2 if it cannot be read or the result not written."""
    file: Path = arguments.file
    targets = [path for path in (arguments.output, arguments.report) if path is not None]
    try:
        complaint = _complaint(file, targets, is_forced=arguments.force)
        data = b"" if complaint else _read(file)
    except (OSError, ValueError) as error:
        print_error(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'not a path'}")
        return 2
    if complaint:
        print_error(complaint)
        return 2
    converted = convert(data, file.name, _Folder(file).fetch, load_prices(), installed())
    try:
        _write(arguments, converted)
    except OSError as error:
        print_error(f"{error.filename}: cannot be written: {error.strerror}")
        return 2
    _tell(converted)
    return 1 if converted.report.has_errors else 0


class _Folder:
    """Where included files are: below the folder of the first, links followed."""

    def __init__(self, file: Path) -> None:
        self._folder = file.parent.resolve()

    def fetch(self, name: str) -> bytes:
        """The bytes of a file by its path from the folder. Raises OSError."""
        try:
            path = (self._folder / name).resolve()
            if path.is_relative_to(self._folder):
                return _read(path)
        except ValueError as error:
            raise OSError(EINVAL, "not a path") from error
        raise OSError(EPERM, "outside the folder")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def _complaint(file: Path, targets: list[Path], *, is_forced: bool) -> str:
    """Why these files may not be written, or nothing."""
    for path in targets:
        if path.exists() and not is_forced:
            return f"{path} exists; --force writes over it"
    places = [path.resolve() for path in (file, *targets)]
    return "the input, the result and the report must be different files" if len(set(places)) < len(places) else ""


def _write(arguments: argparse.Namespace, converted: Converted) -> None:
    # A file that appeared since it was looked for is kept too.
    mode = "w" if arguments.force else "x"
    if arguments.output is None:
        sys.stdout.write(converted.text)
    elif converted.text:
        with arguments.output.open(mode, encoding="utf-8") as file:
            file.write(converted.text)
    if arguments.report is not None:
        with arguments.report.open(mode, encoding="utf-8") as file:
            json.dump(_as_json(arguments.file, converted), file, indent=2)
            file.write("\n")


def _as_json(file: Path, converted: Converted) -> dict[str, object]:
    report = converted.report
    return {
        "file": file.name,
        "ok": not report.has_errors,
        "counts": report.counts(),
        "variables": report.variables,
        "keys": msgspec.to_builtins(list(report)),
    }


def _tell(converted: Converted) -> None:
    report = converted.report
    for finding in report:
        (print_error if finding.outcome == "wrong" else print_note)(str(finding))
    for name, why in sorted(report.variables.items()):
        print_note(f"set {name}: {why}")
    print_note(_summary(report.counts().items(), sum(report.counts().values())))


def _summary(counts: Iterable[tuple[str, int]], total: int) -> str:
    return f"{counted(total, 'key')}: {', '.join(f'{count:,} {outcome}' for outcome, count in counts)}"
