"""The documentation against the code: examples load and run, commands parse, links lead on, lists are complete."""

import argparse
import contextlib
import inspect
import io
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec
import msgspec.inspect as types
import pytest

import muxer
from muxer import Secret, hookspecs
from muxer.__main__ import COMMANDS
from muxer.config import settings
from muxer.config.load import load
from muxer.errors import ConfigInvalid, MuxerError
from muxer.gates import Gate
from muxer.interfaces import ProviderSettings
from muxer.plugins import find_kinds, installed
from muxer.prices import PriceTable
from tests.proxy import OpenProxy

ROOT = Path(__file__).parent.parent
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
}
SHIPPED = (ROOT / "routing.yaml").read_text()
VARIABLES = {*re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE), "DEBUG"}
MOST_README_LINES, MOST_DECISION_LINES = 200, 45

# Python packages of our readers that are in no environment of ours: such blocks are compiled only. The calls they make
# are those of tests/clients and tests/test_third_party.py.
FOREIGN = {"anthropic", "httpx", "litellm", "muxer_acme", "openai"}
# What a shell block may begin with besides what is checked word by word.
SHELL = {"cd", "curl", "docker", "export", "git", "kill", "muxer", "pip", "pytest", "python", "python3", "sqlite3"}
# Pages that show models on purpose that their vendors have retired.
OLD = {"docs/from-seed.md", "docs/from-litellm.md"}
# Modules that readers are told to write.
EXAMPLES = {"muxer_debug", "acme_server", "muxer_acme", "muxer_echo"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    place: str
    text: str
    title: str = ""


def blocks(*languages: str) -> list[Block]:
    fence = re.compile(r"^( *)```(\w*)(?: title=\"([^\"]*)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    return [
        Block(page, f"{page}:{text[: found.start()].count(chr(10)) + 1}", dedent(found[4]), found[3] or "")
        for page, text in PAGES.items()
        for found in fence.finditer(text)
        if found[2] in languages
    ]


def headings(page: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL), re.MULTILINE)


def below(page: str, heading: str) -> str:
    """What stands under a heading."""
    _, _, rest = PAGES[page].partition(f"\n### {heading}\n")
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()


def sections(yaml: str) -> dict[str, str]:
    return {found[1]: found[0] for found in re.finditer(r"^(\w+):.*?(?=^\w|\Z)", yaml, re.MULTILINE | re.DOTALL)}


def entries(section: str) -> dict[str, str]:
    return {found[1]: found[0] for found in re.finditer(r"^  ([\w.-]+):.*\n", section, re.MULTILINE)}


def completed(yaml: str) -> str:
    """The sections of a block with those of the shipped file it leaves out; of models and providers also entries."""
    given = sections(yaml)
    base = sections(SHIPPED) | {"plugins": f"plugins: [{', '.join(sorted(installed()))}]\n"}
    for name, section in base.items():
        if name not in given:
            yaml += section
        elif name in ("models", "providers"):
            missing = entries(section).keys() - entries(given[name]).keys()
            lines = "".join(entries(section)[entry] for entry in sorted(missing))
            yaml = yaml.replace(given[name], given[name].replace("\n", "\n" + lines, 1))
    return yaml


@pytest.mark.parametrize("block", [one for one in blocks("yaml") if not one.title], ids=lambda block: block.place)
def test_yaml_loads(block: Block, tmp_path: Path, table: PriceTable) -> None:
    text = block.text if block.text.startswith("version:") else completed(block.text)
    (tmp_path / "routing.yaml").write_text(text)
    variables = {name: f"value-of-{name}" for name in re.findall(r"\$\{(\w+)", text)}
    try:
        loaded = load(tmp_path / "routing.yaml", variables, find_kinds, table=table)
    except ConfigInvalid as error:
        pytest.fail(f"{block.place} does not load:\n{error}\n\n{text}")
    assert block.page in OLD or loaded.warnings == ()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that ships, in a folder of its own that is the current one, with no variable set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "routing.yaml"
    file.write_text(SHIPPED)
    return file


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
@pytest.mark.usefixtures("shipped")
def test_python_runs(block: Block) -> None:
    code = compile(block.text, block.place, "exec")
    if FOREIGN.isdisjoint(re.findall(r"^(?:from|import) (\w+)", block.text, re.MULTILINE)):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, {"__name__": "__main__"})


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command of the shell blocks as its words, without the variables set before it."""
    for block in blocks("bash", "sh"):
        text = re.sub(r"(^|\s)#.*$", r"\1", block.text, flags=re.MULTILINE).replace("\\\n", " ")
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
        words: list[str] = []
        for word in (*lexer, "\n"):
            if set(word) <= set(";|&\n"):
                if words:
                    yield block.place, words
                words = []
            elif words or not re.match(r"\w+=", word):
                words.append(word.removeprefix(".venv/bin/"))


COMMAND_LINES = list(commands())


def complaint(words: list[str]) -> str:
    """What is wrong with a command, or ''."""
    match words:
        case ["muxer", command, *rest] if not command.startswith("-"):
            if command not in COMMANDS:
                return f"no command {command!r}"
            parser = argparse.ArgumentParser(allow_abbrev=False)
            import_module(f"muxer.cli.{command.replace('-', '_')}").add(parser)
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
                parser.parse_args(rest)
            return said.getvalue()
        case ["make", *targets]:
            known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            return "" if {one for one in targets if "=" not in one} <= set(known) else f"no target {targets}"
        case ["cp" | "python" | "python3", file, *_] if not file.startswith("-"):
            return "" if (ROOT / file).exists() else f"no file {file}"
    return "" if words[0] in SHELL else f"an unknown command: {words[0]}"


@pytest.mark.parametrize(
    ("place", "words"), COMMAND_LINES, ids=[f"{place}-{words[0]}" for place, words in COMMAND_LINES]
)
def test_a_command_is_understood(place: str, words: list[str]) -> None:
    assert complaint(words) == "", f"{place}: {shlex.join(words)}"


@pytest.fixture
async def served(proxy: OpenProxy) -> set[tuple[str, str]]:
    """Method and path of every address, those without /v1 or with two left out where the same stands under one."""
    router = (await proxy(plugins="[openai, prometheus, sqlite]")).live.server.router
    routes = {(route.method, route.resource.canonical) for route in router.routes() if route.resource}
    once = {(method, path) for method, path in routes if not path.startswith("/v1/v1/")}
    return {(method, path) for method, path in once if (method, f"/v1{path}") not in once}


async def test_each_address_is_a_heading(served: set[tuple[str, str]]) -> None:
    described = {
        tuple(one.split(" ")) for one in headings("docs/http.md", 3) if one.startswith(("DELETE", "GET", "POST"))
    }
    assert described == served


async def test_curl_asks_for_what_is_served(served: set[tuple[str, str]]) -> None:
    patterns = [re.compile(re.sub(r"\{.*?\}", "[^/]+", path)) for _, path in served]
    for place, words in COMMAND_LINES:
        for url in (word for word in words if words[0] == "curl" and "localhost:8000" in word):
            path = urlsplit(url).path
            assert any(pattern.fullmatch(path) for pattern in patterns), f"{place}: {path}"


@pytest.mark.usefixtures("shipped")
def test_the_readme_shows_the_table_of_a_real_demo(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["muxer", "demo"])
    assert import_module("muxer.__main__").main() == 0
    said = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (shown,) = (block.text for block in blocks("text") if block.page == "README.md" and "budget left" in block.text)
    assert set(shown.splitlines()) <= set(said), "paste the table of `make demo` into the README"


async def test_the_readme_shows_a_real_answer(shipped: Path) -> None:
    (shown,) = (msgspec.json.decode(block.text) for block in blocks("json") if block.page == "README.md")
    async with muxer.Muxer.from_yaml(shipped, demo=True) as mux:
        answer = await mux.acompletion(messages=[{"role": "user", "content": "What is the capital of France?"}])
    assert _steady(shown) == _steady(answer)


def _steady(answer: object) -> str:
    """An answer's JSON without the values that differ each time."""
    changing = r'"(id|created|request_id|response_time_ms|ms)":[^,}]+'
    return re.sub(changing, "", msgspec.json.encode(answer).decode())


def test_each_error_code_is_a_heading_with_its_status_and_type() -> None:
    waiting: list[type[MuxerError]] = [MuxerError]
    codes: dict[str, str] = {}
    while waiting:
        error = waiting.pop()
        waiting += [one for one in error.__subclasses__() if one.__module__.startswith("muxer.")]
        if error is not ConfigInvalid:  # told by commands, never over HTTP
            codes.setdefault(error.code, f"**{error.status}** `{error.type}`")
    described = [one for one in headings("docs/http.md", 3) if re.fullmatch("[a-z_0-9]+", one)]
    assert sorted(described) == sorted(codes)
    assert {code: below("docs/http.md", code).split("\n")[0] for code in codes} == codes


def _words(wanted: types.Type) -> str:
    """A type as the pages write it."""
    match wanted:
        case types.UnionType():
            return " or ".join(_words(one) for one in wanted.types if not isinstance(one, types.NoneType))
        case types.Metadata():
            return _words(wanted.type)
        case types.LiteralType():
            return " or ".join(f"`{value}`" for value in wanted.values)
        case types.VarTupleType():
            return f"list, each {_words(wanted.item_type)}"
        case types.DictType():
            return f"mapping, each {_words(wanted.value_type)}"
        case types.IntType() | types.FloatType():
            name = "whole number" if isinstance(wanted, types.IntType) else "number"
            bounds = {"at least": wanted.ge, "above": wanted.gt, "at most": wanted.le, "below": wanted.lt}
            return ", ".join([name, *(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)])
    if isinstance(wanted, types.CustomType) and wanted.cls is Secret:
        return "text"
    simple = {types.StrType: "text", types.BoolType: "true or false", types.DecimalType: "amount in US dollars"}
    return simple.get(type(wanted), "mapping")


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "default: as below"
    if value is None or value in ((), "", {}):
        return "default: none"
    return f"default: `{f'{value:g}' if isinstance(value, float) else str(value).replace('False', 'false')}`"


def keys_of(cls: type, prefix: str) -> dict[str, str]:
    """Every key of a settings type by its path, with its type and default in words."""
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    found: dict[str, str] = {}
    for field in info.fields:
        path, wanted = f"{prefix}{field.encode_name}", field.type
        while isinstance(wanted, types.Metadata):
            wanted = wanted.type
        found[path] = f"*{_words(wanted)}; {_default(field)}*"
        suffix = {types.VarTupleType: "[].", types.DictType: ".NAME."}.get(type(wanted), ".")
        inner = getattr(wanted, "item_type", getattr(wanted, "value_type", wanted))
        for one in getattr(inner, "types", (inner,)):
            # In a component stands what its plugin wants.
            if isinstance(one, types.StructType) and one.cls is not settings.Component:
                found |= keys_of(one.cls, path + suffix)
    return found


def test_each_key_of_the_file_is_a_heading_with_its_type_and_default() -> None:
    expected = keys_of(settings.Settings, "") | keys_of(ProviderSettings, "providers.NAME.")
    expected |= {name: re.sub(";.*", "; required*", expected[name]) for name in settings.REQUIRED}
    lists = {"authenticators": settings.Listed, "guards": settings.ListedGuard, "sinks": settings.ListedSink}
    for section, cls in lists.items():
        expected |= keys_of(cls, f"{section}[].")
    kinds = ("store", "providers.NAME", *(f"{section}[]" for section in lists))
    expected |= dict.fromkeys((f"{path}.kind" for path in kinds), "*text; required*")
    expected["store"] = "*mapping; default: `{kind: sqlite, path: muxer.db}`*"
    page = "docs/configuration.md"
    described = {path: below(page, path).split("\n")[0] for path in headings(page, 3)}
    assert described == expected


def test_each_setting_of_a_plugin_is_a_heading_on_its_page() -> None:
    kinds = find_kinds(sorted(installed()))
    shared = set(ProviderSettings.__struct_fields__)
    built = kinds.providers, kinds.stores, kinds.guards, kinds.sinks, kinds.authenticators
    own: dict[str, list[str]] = {}
    for kind in (kind for table in built for kind in table.values()):
        own.setdefault(kind.name, []).extend(one for one in kind.settings.__struct_fields__ if one not in shared)
    for name, fields in own.items():
        assert [one for one in headings(f"docs/plugins/{name}.md", 3) if one not in shared] == fields


def test_each_hook_is_a_heading_with_its_signature() -> None:
    hooks = [hook for hook in vars(hookspecs).values() if hasattr(hook, f"{hookspecs.GROUP}_spec")]
    signatures = [
        f"{hook.__name__}{inspect.signature(hook)}".replace("muxer.interfaces.", "").replace("muxer.stores.", "")
        for hook in hooks
    ]
    assert headings("docs/plugins.md", 3) == signatures


def test_each_command_is_a_heading() -> None:
    assert headings("docs/operate.md", 3) == [f"muxer {name}" for name in COMMANDS]


def rows(page: str) -> set[str]:
    """The words in backticks that begin a row of a table."""
    return set(re.findall(r"^\| `([^`]+)`", PAGES[page], re.MULTILINE))


def test_each_name_of_a_rule_and_each_gate_is_explained() -> None:
    assert {*settings.FREE_SIGNALS, *get_args(Gate)} <= rows("docs/routing.md")


def test_each_variable_is_explained() -> None:
    assert rows("docs/configuration.md") & rows("docs/from-seed.md") >= VARIABLES


def test_every_metric_named_exists() -> None:
    known = {metric.name for metric in muxer.ALL_METRICS}
    modules = {path.name.removesuffix(".py") for path in (ROOT / "plugins").iterdir()}
    for page, text in PAGES.items():
        named = set(re.findall(r"\bmuxer_[a-z_]*[a-z]\b", text))
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} - known - modules - EXAMPLES == set(), page


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", PAGES[page]):
        if target.startswith(("http://", "https://")):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {target}"
        there = str(path.resolve().relative_to(ROOT))
        slugs = {_slug(one) for level in range(1, 5) for one in headings(there, level)} if anchor else {""}
        assert anchor in slugs, f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if "decisions" not in page and page != "CHANGELOG.md"])
def test_files_named_exist(page: str) -> None:
    named = re.findall(r"`((?:bench|config|docs|muxer|plugins|scripts|tests)/[\w./-]+)`", PAGES[page])
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_map_names_every_page() -> None:
    linked = {f"docs/{target}" for target in re.findall(r"\]\(([\w/.-]+\.md)", PAGES["docs/index.md"])}
    assert {page for page in PAGES if page.startswith("docs/")} - linked == {"docs/index.md"}


def test_the_map_names_every_file_of_the_core() -> None:
    files = {f"muxer/{path.name}" for path in (ROOT / "muxer").glob("*.py") if path.name != "__init__.py"}
    assert files - set(re.findall(r"muxer/\w+\.py", PAGES["docs/index.md"])) == set()


def test_json_is_json() -> None:
    for block in blocks("json"):
        assert msgspec.json.decode(block.text), block.place


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_context_choice_and_price_on_half_a_page(path: Path) -> None:
    page = str(path.relative_to(ROOT))
    assert path.stem.startswith(f"{DECISIONS.index(path) + 1:04}-")
    assert headings(page, 2) == ["Context", "Choice", "Price"]
    assert len(PAGES[page].splitlines()) <= MOST_DECISION_LINES
