"""What a signal learned, as a setting of it."""

from pathlib import Path

import msgspec
from msgspec import Struct

from muxer.errors import InvalidRequest
from muxer.interfaces import Kind, Signal


def settings_of(kind: Kind[Signal], artefact: Path | None) -> Struct:
    """The settings of a signal that is to use this artefact, or what it uses without. Raises InvalidRequest where it
    uses none."""
    if artefact is None:
        return kind.settings()
    try:
        settings: Struct = msgspec.convert({"artefact": str(artefact.resolve())}, kind.settings)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"signal {kind.name}: it uses no artefact") from error
    return settings
