"""What has come of an answer so far: its usage, its size, and whether it goes on past its cap."""

from muxer import measurements
from muxer.attempts import written_bytes
from muxer.failures import UpstreamBadResponse
from muxer.interfaces import Meter
from muxer.types import Chunk, Usage


class Count:
    """Counts one stream. `usage` is the provider's, None while it has not said; `most_bytes` is what its cap allows."""

    def __init__(self, meter: Meter, most_bytes: int | None = None) -> None:
        self._meter = meter
        self._most_bytes = most_bytes
        self.usage: Usage | None = None
        self.written_bytes = 0
        self.finished_choices = 0

    def take(self, chunk: Chunk) -> None:
        """Counts one more. Raises UpstreamBadResponse past `most_bytes` (B59)."""
        self.usage = chunk.usage or self.usage
        self.finished_choices += chunk.finish_reason is not None
        self.written_bytes += written_bytes(chunk)
        if self._most_bytes is not None and self.written_bytes > self._most_bytes:
            self._meter.add(measurements.BUDGET_OVERRUN, 1)
            raise UpstreamBadResponse("the upstream wrote on past the output cap; the answer was cut off")

    def final_usage(self, choices: int) -> Usage | None:
        """The bill of a stream of so many answers that broke off: some upstreams count as they go, so what they had
        said before that is none unless every answer was over."""
        return self.usage if self.finished_choices >= choices else None
