"""What rules choose, before and now, as a tier from 0 (cheap) to 1 (premium) a prompt.

Before: the rules that SEED.md describes. Code by code marks and programming keywords, complexity by four
words, simple by length and the way a question begins; the first that holds decides. SEED names no programming keywords:
these are those of its example and everyday ones of the languages of its time. Now: the routing.yaml that ships.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from muxer_heuristics import Heuristics

from muxer.assemble import rules_of
from muxer.cli.configuration import read
from muxer.evaluation.policies import choices
from muxer.evaluation.rows import Cell, Row

_KEYWORDS = """function class code python javascript java sql algorithm program script def import debug api regex html
    css database method variable loop array compile"""
_CODE = frozenset(_KEYWORDS.split())
_COMPLEX = frozenset(("analyze", "explain", "debug", "reasoning"))
_SIMPLE_CHARS = 100
_SIMPLE = re.compile(r"(what|who|when|where|which|how (many|much)|is|are|define)\b")
# SEED asks a premium model for code and for what is complex, a cheap one for what is simple, else a balanced one.
_TIERS = {"code": 1.0, "complex": 1.0, "general": 0.5, "simple": 0.0}
_SHIPPED = Path(__file__).parent.parent / "routing.yaml"
# The models of its routes by the same tiers.
_PLAYED = {
    "gpt-6.1-sol": 1.0,
    "claude-sonnet-5-5": 1.0,
    "gpt-6.1-terra": 0.5,
    "mistral-small-latest": 0.0,
    "claude-haiku-5-5": 0.0,
}


def route(prompt: str) -> str:
    """Code, complex, simple or general."""
    lowered = prompt.casefold()
    words = frozenset(re.findall(r"[a-z]+", lowered))
    if "`" in prompt or words & _CODE:
        return "code"
    if words & _COMPLEX:
        return "complex"
    if len(prompt) < _SIMPLE_CHARS or _SIMPLE.match(lowered):
        return "simple"
    return "general"


def before(rows: Sequence[Row]) -> list[float]:
    """The tiers by SEED's rules."""
    return [_TIERS[route(row.prompt)] for row in rows]


def now(rows: Sequence[Row]) -> list[float]:
    """The tiers by the file that ships, decided as live requests are."""
    loaded = read(_SHIPPED)
    cells = {name: Cell(s=tier) for name, tier in _PLAYED.items()}
    asked = [Row(prompt=row.prompt, models=cells, id=row.id) for row in rows]
    rules = rules_of(loaded.configuration, loaded.table)
    chosen = choices(asked, rules, {"heuristics": Heuristics()}, {}, {}, lambda more: None)
    return [_PLAYED[name] for name in chosen.models]
