"""LiteLLM's `include`: the files it names, merged into the one that names them."""

from pathlib import PurePosixPath

from muxer.litellm_import.report import Report
from muxer.litellm_import.source import Fetch, read
from muxer.litellm_import.tree import Items, Node, Spot, Table, View

_MOST_FILES = 50


def with_includes(root: Table, file: str, fetch: Fetch, report: Report) -> Table:
    """The file and what it includes as one: lists are joined, of other values the included one counts, as in LiteLLM.

    Only files below the folder of the first one are read: who sends a configuration does not choose what else is read.
    """
    return _Includes(fetch, report, file).resolved(View("", root.spot, root), root, PurePosixPath("."))


class _Includes:
    def __init__(self, fetch: Fetch, report: Report, file: str) -> None:
        self._fetch = fetch
        self._report = report
        self._seen = {PurePosixPath(file).name}

    def resolved(self, view: View, root: Table, folder: PurePosixPath) -> Table:
        """The mapping with everything it includes, and what that includes; names start at its own folder."""
        named = view.get("include")
        if named is None:
            return root
        merged = Table(root.spot, dict(root.entries), dict(root.spots))
        if not isinstance(named.node, Items):
            self._report.wrong(named, "expected a list of files")
            return merged
        self._report.mapped(named, "read and joined here")
        for item in named.items():
            found = self._included(item, folder)
            if found is not None:
                _merge(merged, found)
        return merged

    def _included(self, item: View, folder: PurePosixPath) -> Table | None:
        name = item.value
        if not isinstance(name, str) or not name:
            self._report.wrong(item, "expected the name of a file")
            return None
        path = PurePosixPath(_normal(folder / name))
        if "://" in name:
            self._report.dropped(item, "only files are read; fetch it and include the copy")
        elif PurePosixPath(name).is_absolute() or path.parts[:1] == ("..",):
            self._report.wrong(item, "outside the folder of the first file; put a copy there")
        elif str(path) in self._seen:
            self._report.mapped(item, "read already")
        elif len(self._seen) > _MOST_FILES:
            self._report.wrong(item, f"more than {_MOST_FILES} files")
        else:
            return self._read(item, path)
        return None

    def _read(self, item: View, path: PurePosixPath) -> Table | None:
        self._seen.add(str(path))
        try:
            data = self._fetch(str(path))
        except OSError as error:
            self._report.wrong(item, f"cannot be read: {error.strerror or 'no reason given'}")
            return None
        errors = Report()
        root = read(data, str(path), errors)
        for finding in errors:
            # Its keys get other paths once they are joined.
            spot = Spot(finding.file, finding.line, finding.column)
            self._report.add(f"{item.path}.{finding.path}".rstrip("."), spot, finding.outcome, finding.words)
        if root is None:
            return None
        self._report.mapped(item, "read and joined")
        return self.resolved(View(str(path), root.spot, root), root, path.parent)


def _normal(path: PurePosixPath) -> str:
    """The path without `.` and `..` where these lead nowhere outside."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _merge(into: Table, other: Table) -> None:
    for key, node in other.entries.items():
        if key == "include":
            continue
        known = into.entries.get(key)
        both: Node = node
        if isinstance(known, Items) and isinstance(node, Items):
            both = Items(known.spot, known.items + node.items)
        into.entries[key] = both
        into.spots[key] = into.spots[key] if both is not node else other.spots[key]
