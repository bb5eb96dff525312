"""Faults by path: says what is wrong with `("routes", 1, "use", 0)` and finds its place in the file."""

from muxer.config.faults import Faults
from muxer.config.settings import Place
from muxer.config.tree import Node, Scalar, Table, below, find, shown

Steps = tuple[str | int, ...]


class Notes:
    """Adds faults about a located tree."""

    def __init__(self, root: Node, faults: Faults) -> None:
        self.root = root
        self.faults = faults

    def add(
        self, steps: Steps, message: str, hint: str = "", *, ahead: int | None = None, on_key: bool = False
    ) -> None:
        """Notes a fault at these steps (keys and indices); `ahead` moves it that many characters into a text.

        A value the environment gave is named by its variable; `on_key` means the key's place, not the value's.
        """
        node = find(self.root, steps)
        place = node.place
        if isinstance(node, Scalar):
            if node.variable:
                self.faults.add(None, node.variable, message, hint)
                return
            if node.inside is not None and ahead is not None:
                place = Place(node.inside.line, node.inside.column + ahead)
        if on_key and isinstance(parent := find(self.root, steps[:-1]), Table):
            place = parent.keys.get(str(steps[-1]), place)
        self.faults.add(place, path_of(steps), message, hint)

    def named(self, steps: Steps) -> str:
        """The text there as messages may show it: never what the environment gave."""
        node = find(self.root, steps)
        return shown(node.written) if isinstance(node, Scalar) and not node.variable else "of that name"

    def has(self, *steps: str | int) -> bool:
        """Whether the file says anything there; `null` says nothing."""
        parent = find(self.root, steps[:-1])
        if not isinstance(parent, Table):
            return False
        node = parent.entries.get(str(steps[-1]))
        return node is not None and not (isinstance(node, Scalar) and node.sort == "nothing")


def path_of(steps: Steps) -> str:
    """The steps as messages write them: `routes[1].use[0]`."""
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else below(path, step)
    return path
