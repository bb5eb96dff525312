"""Names to kinds: what a plugin offers, and every way it can be unusable."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from muxer.errors import ConfigInvalid
from muxer.plugins import find_kinds, installed

Write = Callable[..., list[str]]
HEAD = "from muxer import Kind, hookimpl\nfrom msgspec import Struct\nclass S(Struct): pass\n"
OFFER = HEAD + "@hookimpl\ndef register_providers(): return [Kind('{}', S, None)]\n"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes plugins as modules of a package and gives their names."""
    package = f"pkg_{tmp_path.name.replace('-', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def write(*sources: str) -> list[str]:
        for number, source in enumerate(sources):
            (tmp_path / package / f"m{number}.py").write_text(source)
        return [f"{package}.m{number}" for number in range(len(sources))]

    return write


def faults_of(names: list[str]) -> list[str]:
    with pytest.raises(ConfigInvalid) as raised:
        find_kinds(names)
    return [str(fault) for fault in raised.value.faults]


def test_the_built_in_plugins_are_installed_by_name() -> None:
    names = {"openai", "anthropic", "gemini", "mistral", "demo", "heuristics", "sqlite", "prometheus"}
    assert names <= installed().keys()
    kinds = find_kinds(sorted(names))
    assert {"openai", "anthropic", "gemini", "mistral", "demo"} == kinds.providers.keys()
    assert (set(kinds.stores), kinds.origins["store sqlite"]) == ({"sqlite"}, "sqlite")


def test_only_what_is_named_is_imported(written: Write) -> None:
    (name,) = written(OFFER.format("mine"))
    assert find_kinds([]).providers == {} and name not in sys.modules
    assert find_kinds([name]).providers.keys() == {"mine"} and name in sys.modules


@pytest.mark.parametrize(
    ("name", "hint"),
    [("opnai", "did you mean 'openai'?"), ("redis-cluster-x", "pip install modelmuxer-redis-cluster-x")],
)
def test_a_plugin_that_is_not_installed_is_named_with_what_to_do(name: str, hint: str) -> None:
    (fault,) = faults_of(["sqlite", name])
    assert fault.startswith(f"plugins[1]: no plugin {name!r} is installed") and hint in fault


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", "does not import: ModuleNotFoundError"),
        ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
        ("def (", "does not import: SyntaxError"),
        ("import sys; sys.exit(0)", "does not import: SystemExit: 0"),
        (HEAD + "@hookimpl\ndef register_provider(): return []", "does not fit the hooks: unknown hook"),
        (HEAD + "@hookimpl\ndef register_providers(more): return []", "does not fit the hooks"),
        (HEAD + "@hookimpl\ndef register_providers(): 1 / 0", "register_providers raised ZeroDivisionError"),
        (HEAD + "@hookimpl\ndef register_providers(): return 'mine'", "must return a list of Kind, not str"),
        (HEAD + "@hookimpl\ndef register_providers(): return ['mine']", "must return a list of Kind, not list"),
        (HEAD + "@hookimpl\ndef register_stores(): return {}", "register_stores must return a list of Kind, not dict"),
    ],
    ids=range(10),
)
def test_a_plugin_that_breaks_is_a_fault_with_its_place(written: Write, source: str, message: str) -> None:
    names = written(OFFER.format("fine"), source)
    (fault,) = faults_of(names)
    assert fault.startswith(f"plugins[1]: plugin {names[1]!r}") and message in fault


def test_all_faults_are_told_at_once(written: Write) -> None:
    assert len(faults_of([*written("1 / 0", "1 / 0"), "opnai"])) == 3


def test_a_kind_offered_twice_is_a_fault_that_names_both(written: Write) -> None:
    names = written(OFFER.format("mine"), OFFER.format("mine"))
    assert faults_of(names) == [f"plugins[1]: plugins {names[0]!r} and {names[1]!r} both offer the 'provider mine'"]


def test_the_same_name_may_be_a_provider_and_a_store(written: Write) -> None:
    source = OFFER.format("mine") + OFFER.format("mine").replace("register_providers", "register_stores")
    kinds = find_kinds(written(source))
    assert (set(kinds.providers), set(kinds.stores)) == ({"mine"}, {"mine"})


def test_a_module_that_offers_nothing_is_fine(written: Write) -> None:
    assert find_kinds(written("")).origins == {}


def test_a_name_that_is_no_module_is_a_fault() -> None:
    (fault,) = faults_of(["no.such.module"])
    assert "does not import: ModuleNotFoundError" in fault


@pytest.mark.parametrize("name", ["./mine.py", "mine.py", "plugins/mine", ".mine"])
def test_a_path_in_place_of_a_name_is_told_with_what_to_write(name: str) -> None:
    (fault,) = faults_of([name])
    assert "is a path, not the name of a plugin or module; for `my_plugin.py`" in fault


def test_a_module_beside_the_file_that_an_installed_one_hides_is_told(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text(OFFER.format("mine"))
    try:
        with pytest.raises(
            ConfigInvalid, match="'msgspec': an installed module has the same name; give the file another"
        ):
            find_kinds(["msgspec"], tmp_path)
    finally:
        sys.path.remove(str(tmp_path))


def test_a_module_beside_the_file_is_found_and_replaces_nothing_installed(tmp_path: Path) -> None:
    (tmp_path / "lies_beside.py").write_text(OFFER.format("beside"))
    (tmp_path / "msgspec.py").write_text("1 / 0")
    assert find_kinds(["lies_beside"], tmp_path).providers.keys() == {"beside"}
    assert str(tmp_path) == sys.path[-1]
    sys.path.remove(str(tmp_path))
