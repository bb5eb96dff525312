"""Writes the JSON Schema of `routing.yaml` where the package and editors look for it."""

import json
import re
from pathlib import Path

from muxer.config.schema import schema
from muxer.plugins import find_kinds, installed

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (ROOT / "muxer/data/routing.schema.json", ROOT / "config/routing.schema.json")


def text() -> str:
    """The schema with the settings of all plugins that are installed, in the words of their pages."""
    return json.dumps(schema(find_kinds(sorted(installed())), told), indent=2) + "\n"


def told(kind: str, setting: str) -> str:
    """What the page of a plugin says first of a setting."""
    page = (ROOT / f"docs/plugins/{kind}.md").read_text(encoding="utf-8")
    found = re.search(rf"^### {setting}\n+(?:\*[^\n]*\*\n+)?(.+?)(?:\.\s|\n\n|\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"docs/plugins/{kind}.md has nothing on {setting}")
    return re.sub(r"\]\([^)]*\)|\[", "", " ".join(found[1].split())).removesuffix(".")


def main() -> None:
    """Writes both copies."""
    for target in TARGETS:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
