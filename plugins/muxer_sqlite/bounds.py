"""How far things may go, and how often is looked after them."""

from muxer import WriterBounds


class Bounds(WriterBounds, frozen=True, kw_only=True):
    """How often the dead are buried and old rows are looked for; how many of those are looked at in one go, and the
    pause between; how often the log is looked at, and with how much in use it is emptied."""

    sweep_every_s: float = 5.0
    tidy_every_s: float = 60.0
    tidy_rows: int = 50
    tidy_pause_s: float = 0.1
    empty_every_s: float = 0.5
    emptied_at_bytes: int = 16 * 2**20
