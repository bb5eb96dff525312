"""The signal `difficulty`: the chance that a strong model answers better than a cheap one, learned from answers."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from muxer import ChatRequest, ConfigInvalid, Context, Fault, Kind, Labelled, Lesson, Signal, SignalValue, hookimpl
from muxer_difficulty import kept
from muxer_difficulty.features import features
from muxer_difficulty.fit import fit, work
from muxer_difficulty.lessons import examples
from muxer_difficulty.model import Model, NotAnArtefact, load

DIFFICULTY = "difficulty"
SIGNALS = {DIFFICULTY: float}
USUAL = "difficulty.model"
SHIPPED = "shipped.model"


class DifficultySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`artefact`: what `muxer train` made; none: `difficulty.model` beside routing.yaml, else the one that ships."""

    artefact: str | None = None


class Difficulty:
    """Measures the last message of the user, which need not be stored for it."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def measure(self, request: ChatRequest) -> Mapping[str, SignalValue]:
        """A chance from 0 to 1."""
        return {DIFFICULTY: self._model.chance(request.question)}

    def features(self, request: ChatRequest) -> str:
        """See KeepsFeatures."""
        return kept.write(features(request.question))

    def recall(self, features: str) -> Mapping[str, SignalValue]:
        """See LearnsLater."""
        return {DIFFICULTY: self._model.chance_of(kept.read(features))}

    def fit_with(self, rows: Sequence[Labelled], lessons: Sequence[Lesson], advance: Callable[[float], None]) -> bytes:
        """See LearnsLater."""
        whole = work(len(rows) + len(lessons))
        return fit(rows, lambda done: advance(done / whole), examples(lessons) if lessons else ())

    def fit(self, rows: Sequence[Labelled], advance: Callable[[float], None]) -> bytes:
        """See Trainable."""
        whole = work(len(rows))
        return fit(rows, lambda done: advance(done / whole))


def _bytes(settings: DifficultySettings, folder: Path) -> bytes:
    beside = folder / (settings.artefact or USUAL)
    if settings.artefact is not None or beside.exists():
        return beside.read_bytes()
    return (files("muxer_difficulty") / SHIPPED).read_bytes()


@asynccontextmanager
async def open_difficulty(settings: DifficultySettings, context: Context) -> AsyncIterator[Signal]:
    """The signal with its model. Raises ConfigInvalid for a file that is none."""
    try:
        model = load(_bytes(settings, context.folder))
    except (OSError, NotAnArtefact) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigInvalid([Fault(f"{settings.artefact or USUAL}: {reason}", path="signal difficulty")]) from error
    yield Difficulty(model)


@hookimpl
def register_signals() -> list[Kind[Signal]]:
    """Offers the kind `difficulty`."""
    return [Kind(DIFFICULTY, DifficultySettings, open_difficulty, SIGNALS)]
