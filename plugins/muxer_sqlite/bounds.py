"""How far things may go, and how often is looked after them."""

from msgspec import Struct


class Bounds(Struct, frozen=True, kw_only=True):
    """Rows and bytes of writes that wait and the length of SQLite's log (F13); how often a file that could not be
    written is tried again, the dead are buried, and old rows are looked for; how many of those are looked at in one go,
    and the pause between."""

    waiting_rows: int = 10_000
    waiting_bytes: int = 32 * 2**20
    log_bytes: int = 256 * 2**20
    probe_every_s: float = 1.0
    sweep_every_s: float = 5.0
    tidy_every_s: float = 60.0
    tidy_rows: int = 50
    tidy_pause_s: float = 0.1
