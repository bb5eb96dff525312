"""`muxer import-litellm`: a routing.yaml from LiteLLM's config.yaml, and what became of each key of it."""

import argparse
import json
import sys
from collections.abc import Iterable
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
    complaint = _complaint(targets, is_forced=arguments.force)
    if complaint:
        print_error(complaint)
        return 2
    try:
        data = _read(file)
    except (OSError, ValueError) as error:
        print_error(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'not a path'}")
        return 2
    converted = convert(data, file.name, _Folder(file).fetch, load_prices(), installed())
    try:
        _write(arguments.output, arguments.report, file, converted)
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
        """The bytes of a file by its path from the folder. Raises OSError, or ValueError for what is elsewhere."""
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise ValueError("outside the folder")
        return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def _complaint(targets: list[Path], *, is_forced: bool) -> str:
    for path in targets:
        if path.exists() and not is_forced:
            return f"{path} exists; --force writes over it"
    return "the result and the report cannot be one file" if len(targets) != len(set(targets)) else ""


def _write(output: Path | None, report: Path | None, file: Path, converted: Converted) -> None:
    if not converted.text:
        pass  # nothing can be made of it, and the report says why
    elif output is None:
        sys.stdout.write(converted.text)
    else:
        output.write_text(converted.text, encoding="utf-8")
    if report is not None:
        report.write_text(json.dumps(_as_json(file, converted), indent=2) + "\n", encoding="utf-8")


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
