"""`muxer check`: is this file fine, and if not, what is wrong with it and where."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from muxer.cli.configuration import WORDS_OF_USUAL, read
from muxer.config.settings import Configuration
from muxer.errors import ConfigInvalid, Fault


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the words of the command."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=WORDS_OF_USUAL)
    parser.add_argument("--json", action="store_true", help="print {ok, errors, warnings} as JSON")
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")


def run(arguments: argparse.Namespace) -> int:
    """Prints what is wrong; 0 if nothing is, else 1."""
    errors: list[Fault] = []
    warnings: list[Fault] = []
    valid: list[Configuration] = []
    for file in arguments.files or [None]:
        try:
            configuration = read(file).configuration
        except ConfigInvalid as error:
            errors += error.faults
            (errors if arguments.strict else warnings).extend(error.warnings)
        else:
            (errors if arguments.strict else warnings).extend(configuration.warnings)
            valid.append(configuration)
    if arguments.json:
        _print_json(errors, warnings)
    else:
        _print_lines(errors, warnings, valid)
    return 1 if errors else 0


def _print_json(errors: Sequence[Fault], warnings: Sequence[Fault]) -> None:
    answer = {"ok": not errors, "errors": msgspec.to_builtins(errors), "warnings": msgspec.to_builtins(warnings)}
    print(json.dumps(answer, indent=2))


def _print_lines(errors: Sequence[Fault], warnings: Sequence[Fault], valid: Sequence[Configuration]) -> None:
    for error in errors:
        print(error)
    for warning in warnings:
        print(f"warning: {warning}")
    for configuration in () if errors else valid:
        _print_valid(configuration)


def _print_valid(configuration: Configuration) -> None:
    settings = configuration.settings
    for name, provider in settings.providers.items():
        if provider.unavailable:
            print(f"note: providers.{name} is unavailable: {provider.unavailable}")
    counts = f"{_counted(len(settings.models), 'model')}, {_counted(len(settings.routes), 'route')}"
    print(f"ok: {configuration.file}: {counts}")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
