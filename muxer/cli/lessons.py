"""What `muxer train --from` learns from: records whose answer was judged and whose route learns."""

from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from muxer.cli.archive import Log, log_at, log_of, open_archive
from muxer.cli.configuration import read
from muxer.lessons import LearnsLater, Lesson


class Told(Struct):
    """What the records told: lessons, and how many with a score were none, by the reason."""

    lessons: list[Lesson] = []
    scored: int = 0
    of_other_models: int = 0
    without_features: int = 0
    hashed_otherwise: int = 0


def log_named(path: Path) -> Log:
    """The records of the store that a routing.yaml names, or of a file of the embedded store. Raises ConfigInvalid."""
    if path.suffix in (".yaml", ".yml"):
        return log_of(read(path).configuration, None)
    return log_at(path)


async def told(
    log: Log, since_s: float, strong: Collection[str], cheap: Collection[str], name: str, signal: LearnsLater
) -> Told:
    """The lessons for a signal of that name in the records since then. Raises ConfigInvalid and StoreUnavailable."""
    found = Told()
    async with open_archive(log) as archive:
        async for batch in archive.scored(since_s):
            for record in batch:
                found.scored += 1
                features = record.features.get(name, "")
                if record.model not in strong and record.model not in cheap:
                    found.of_other_models += 1
                elif not features:
                    found.without_features += 1
                elif not _is_known(signal, features):
                    found.hashed_otherwise += 1
                else:
                    score = 0.0 if record.feedback is None else record.feedback
                    found.lessons.append(Lesson(features, score, record.model in strong))
    return found


def _is_known(signal: LearnsLater, features: str) -> bool:
    try:
        signal.recall(features)
    except ValueError:
        return False
    return True
