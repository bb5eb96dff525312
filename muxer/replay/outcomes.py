"""What became of a recorded request under one file."""

from msgspec import Struct


class Outcome(Struct, frozen=True):
    """Where a request goes and what it costs at the recorded tokens, in nano-dollars. `model` is '' where nobody
    serves it: `refused` says why. `unknown` says what would have to be known to tell."""

    route: str = ""
    model: str = ""
    upstream: str = ""
    cost_nanos: int = 0
    refused: str = ""
    unknown: str = ""

    @property
    def goes_to(self) -> str:
        """The model, or why there is none."""
        return self.model or f"refused: {self.refused}"

    def is_same_as(self, other: "Outcome") -> bool:
        """Whether the same model serves, called the same and asked for by the same name; or nobody in both."""
        return self.model == other.model and (not self.model or self.upstream == other.upstream)
