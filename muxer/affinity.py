"""Where a conversation is."""

from msgspec import Struct


class Affinity(Struct, frozen=True):
    """The model a conversation is on, and how many tokens of its prompt that likely still has; '' when on none."""

    model: str = ""
    cached_tokens: int = 0
