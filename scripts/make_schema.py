"""Writes the JSON Schema of `routing.yaml` where the package and editors look for it."""

import json
from pathlib import Path

from muxer.config.schema import schema

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (ROOT / "muxer/data/routing.schema.json", ROOT / "config/routing.schema.json")


def main() -> None:
    """Writes both copies."""
    text = json.dumps(schema(), indent=2) + "\n"
    for target in TARGETS:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
