"""The rules of how the house is built that import-linter and ruff cannot say."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import muxer

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_FUNCTION_LINES, MOST_BROAD_EXCEPTS = 400, 60, 8
CORE = sorted((ROOT / "muxer").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
TREES = {
    path: ast.parse(path.read_text())
    for folder in ("muxer", "plugins", "tests", "bench", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


class Import(NamedTuple):
    """One imported name: `from module import name`, or `import module` with an empty name."""

    place: str
    module: str
    name: str


def imports(path: Path) -> Iterator[Import]:
    for node in ast.walk(TREES[path]):
        place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(place, alias.name, "") for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place}: imports are absolute"
            yield from (Import(place, node.module or "", alias.name) for alias in node.names)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def is_core_module(name: str) -> bool:
    return (ROOT / "muxer" / f"{name}.py").exists() or (ROOT / "muxer" / name / "__init__.py").exists()


def plugin_of(path: Path) -> str:
    return path.relative_to(ROOT / "plugins").parts[0].removesuffix(".py")


def test_the_core_never_imports_a_plugin_nor_the_test_kit() -> None:
    kit = ROOT / "muxer" / "testing"
    found = [
        used
        for path in CORE
        for used in imports(path)
        if used.module.startswith("muxer_")
        or (not path.is_relative_to(kit) and is_in(f"{used.module}.{used.name}", "muxer.testing"))
    ]
    assert found == []


def test_the_core_takes_names_from_where_they_are_defined() -> None:
    kit = ROOT / "muxer" / "testing"
    found = [
        used
        for path in CORE
        if not path.is_relative_to(kit)
        for used in imports(path)
        if used.module == "muxer" and not is_core_module(used.name)
    ]
    assert found == []


def test_the_test_kit_uses_public_names_only() -> None:
    kit = ROOT / "muxer" / "testing"
    found = [
        used
        for path in CORE
        if path.is_relative_to(kit)
        for used in imports(path)
        if is_in(used.module, "muxer") and not is_in(used.module, "muxer.testing") and used.name not in muxer.__all__
    ]
    assert found == []


def test_a_plugin_imports_public_names_and_never_another_plugin() -> None:
    found = []
    for path in PLUGINS:
        for used in imports(path):
            if used.module.startswith("muxer_") and not is_in(used.module, plugin_of(path)):
                found.append(used)
            if not is_in(used.module, "muxer") or is_in(f"{used.module}.{used.name}", "muxer.wire"):
                continue
            if used.module != "muxer" or used.name not in muxer.__all__:
                found.append(used)
    assert found == []


def test_every_plugin_has_its_entry_point_and_its_test() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["modelmuxer"]
    names = {plugin_of(path) for path in PLUGINS}
    assert declared == {name.removeprefix("muxer_"): name for name in names}
    tests = ROOT / "tests" / "plugins"
    # The thin OpenAI-compatible ones share the tests of the provider they are built from.
    assert {name for name in names if not list(tests.glob(f"test_{name}*"))} <= {"muxer_mistral", "muxer_openai"}


@pytest.mark.parametrize("path", CORE + PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(TREES[path])


def test_the_server_starts_without_what_draws_tables() -> None:
    program = "import sys, muxer.cli.serve; print([name for name in sys.modules if name.partition('.')[0] == 'rich'])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"


def test_no_file_is_over_400_lines() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in TREES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_function_is_over_60_lines() -> None:
    found = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    found[f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"] = lines
    assert found == {}


def test_swallowing_everything_is_rare_and_says_why() -> None:
    found = {}
    for path in CORE + PLUGINS:
        lines = path.read_text().splitlines()
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ExceptHandler) and _swallows_everything(node):
                line = lines[node.lineno - 1].replace("# noqa: BLE001", "")
                found[f"{path.relative_to(ROOT)}:{node.lineno}"] = line.partition("#")[2].strip()
    assert [place for place, reason in found.items() if not reason] == []
    assert len(found) <= MOST_BROAD_EXCEPTS, found


def _swallows_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    is_broad = any(part is None or getattr(part, "id", "") in ("Exception", "BaseException") for part in caught)
    return is_broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))
