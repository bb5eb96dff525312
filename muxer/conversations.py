"""Where the conversations of sticky routes are: which model answered last, and how much of the prompt it still has.

Kept in this process alone, and bounded: what is forgotten costs a prompt that is read again, never a wrong answer.
"""

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from muxer.types import Affinity, Record, Usage

MOST = 10_000
# Anthropic keeps a prefix for 5 minutes from its last use, OpenAI for 5 to 10.
CACHED_S = 300.0
# Shorter prompts are not kept: OpenAI begins at 1,024 tokens, Anthropic at 1,024 to 4,096.
SHORTEST_TOKENS = 1_024
_NOWHERE = Affinity()


class _Turn(Struct, frozen=True):
    at: float
    model: str
    cached_tokens: int


class Conversations:
    """The last turn of each conversation, by its caller's key and user, since users may share a key, and its name; of
    more than `most` the latest.

    `now` gives Unix seconds.
    """

    def __init__(self, now: Callable[[], float], most: int = MOST) -> None:
        self._now = now
        self._most = most
        self._turns: OrderedDict[tuple[str, str, str], _Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def affinity(self, key: str, user: str, conversation: str) -> Affinity:
        """Where the conversation is now; without a model, when nobody knows."""
        turn = self._turns.get((key, user, conversation))
        if turn is None:
            return _NOWHERE
        return Affinity(turn.model, turn.cached_tokens if self._is_warm(turn) else 0)

    def remember(self, record: Record) -> None:
        """Takes note of a turn that was answered."""
        name, now = (record.key, record.user, record.conversation), self._now()
        before = self._turns.pop(name, None)
        was_warm = before is not None and before.model == record.model and self._is_warm(before)
        self._turns[name] = _Turn(now, record.model, _kept(record.usage, was_warm=was_warm))
        if len(self._turns) > self._most:
            self._turns.popitem(last=False)

    def forget(self, key: str, user: str, conversation: str) -> None:
        """Knows nothing of the conversation any more."""
        self._turns.pop((key, user, conversation), None)

    def _is_warm(self, turn: _Turn) -> bool:
        return 0 <= self._now() - turn.at <= CACHED_S


def _kept(usage: Usage, *, was_warm: bool) -> int:
    """How much of this prompt the next turn will find at the provider, by what this turn found and wrote there."""
    if usage.cache_write_tokens:
        return usage.cached_input_tokens + usage.cache_write_tokens
    if usage.cached_input_tokens:
        return usage.input_tokens  # who keeps prompts unasked does not say how much of this one it has kept
    # A second turn that found nothing of the first shows that nothing is kept here.
    return 0 if was_warm or usage.input_tokens < SHORTEST_TOKENS else usage.input_tokens
