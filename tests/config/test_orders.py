"""What belongs to an order is refused without it, and an order without what belongs to it."""

from pathlib import Path

import pytest

from muxer.errors import ConfigInvalid
from tests.config.example import ENVIRON, load_text

YAML = """\
version: 1
plugins: [openai, sqlite]
providers: {p: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models:
  a: {provider: p, price: free}
  b: {provider: p, price: free}
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  m: {use: [a, b], order: cascade}\n", "7:27: models.m.order: missing key 'confidence'"),
        ("  m: {use: [a], order: cascade, confidence: 1}\n", "7:12: models.m.use: a cascade needs at least 2"),
        (
            "  m: {use: [a], provider: p}\n",
            "7:17: models.m.provider: a group of models has only use, order and what goes",
        ),
        ("  m: {use: [a], confidence: 0.5}\n", "7:17: models.m.confidence: needs order: cascade"),
        ("  a2: {provider: p, price: free, confidence: 1}\n", "7:34: models.a2.confidence: only a group (use: ...)"),
        ("routes: [{name: r, use: [a], confidence_by: mean}]\n", "7:30: routes[0].confidence_by: needs order: cascade"),
        ("routes: [{name: r, use: [a], keep_quality: 1}]\n", "7:30: routes[0].keep_quality: needs order: cascade or"),
        (
            "  v: {use: [a], order: value}\n",
            "7:13: models.v.use[0]: order: value needs the tier of 'a'; write it under models.a",
        ),
        (
            "  g: {use: [a]}\nroutes: [{name: r, use: [g], order: value}]\n",
            "8:26: routes[0].use[0]: order: value needs the tier of 'a'",
        ),
        (
            "routes: [{name: r, use: [a, b], order: cascade, confidence: 85}]\n",
            "7:61: routes[0].confidence: expected at most 1, found 85",
        ),
        (
            "  c: {use: [a, b], order: cascade, confidence: 80%}\nroutes: [{name: r, use: [a, c]}]\n",
            "8:29: routes[0].use[1]: a group with order: cascade stands alone, or is asked by its name",
        ),
    ],
)
def test_what_does_not_fit_is_told_at_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_text(tmp_path, YAML + text, ENVIRON)
    assert says in str(refused.value)
    assert len(refused.value.faults) == 1
