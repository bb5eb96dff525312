"""What one generation of Gemini models takes and another refuses."""

from typing import Literal

from msgspec import Struct


class Abilities(Struct, frozen=True, kw_only=True):
    """What a model takes; the defaults are those of Gemini 3 and later.

    `signs_calls`: its tool calls have ids and signed thoughts, both of which it wants back, and tool results may hold
    images. `thinking` is how much of it is asked for: by a level, by a number of tokens, or not at all.
    """

    signs_calls: bool = True
    thinking: Literal["level", "tokens", "none"] = "level"
    stops_thinking: bool = True
    minimal_thinking: bool = False
    xhigh_thinking: bool = False
    penalties: bool = False
    fetches_images: bool = True
