"""What is shipped beside the code: copies that must agree, files that must be there, words that must not."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
# The variables of the README that this project began with; people have them in their .env files.
VARIABLES = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "DEFAULT_MODEL", "MAX_TOKENS_DEFAULT",
    "TEMPERATURE_DEFAULT", "ALLOWED_API_KEYS", "DEFAULT_DAILY_BUDGET", "DEFAULT_MONTHLY_BUDGET",
)  # fmt: skip
# Servers of packages: an address of one in a lock file or an install line ties everybody to it.
REGISTRY = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)[\w.-]*|/simple/|(index-url|find-links)[ =]")
FOLDERS = ("muxer", "plugins", "tests", "bench", "scripts", "config", "docs", "image", ".ci")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def yaml_of(name: str) -> Any:
    return yaml.safe_load(text(name))


def shipped() -> list[Path]:
    """Every text of the project: what a commit could hold."""
    inner = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    return [path for path in (*ROOT.iterdir(), *inner) if path.is_file() and path.suffix not in (".gz", ".db", ".svg")]


def test_the_two_copies_of_routing_yaml_differ_in_their_first_line_only() -> None:
    shown, packaged = text("routing.yaml").splitlines(), text("muxer/data/routing.yaml").splitlines()
    assert shown[1:] == packaged[1:]
    assert [line.partition("$schema=")[2] for line in (shown[0], packaged[0])] == [
        "config/routing.schema.json",
        "routing.schema.json",
    ]


def test_env_example_names_every_variable_and_no_other() -> None:
    names = re.findall(r"^([A-Z_]+)=", text(".env.example"), re.MULTILINE)
    assert sorted(names) == sorted(VARIABLES)


def test_the_changelog_says_what_is_unreleased() -> None:
    assert "## Unreleased" in text("CHANGELOG.md")


def test_the_licence_is_mit() -> None:
    assert text("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 ModelMuxer contributors\n")


def test_no_file_names_a_server_of_packages() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:100]}"
        for path in shipped()
        if path.name not in (Path(__file__).name, ".env")
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if REGISTRY.search(line)
    ]
    assert found == []


def test_no_lock_file_is_committed() -> None:
    assert [name for name in ("uv.lock", "poetry.lock", "Pipfile.lock") if (ROOT / name).exists()] == []


def test_constraints_pin_every_declared_dependency_by_version_alone() -> None:
    lines = text("constraints.txt").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    declared = {_name(line) for line in (*project["dependencies"], *extras["dev"], *extras["redis"])}
    assert declared - {_name(line) for line in lines} == set()


def locked(name: str) -> dict[str, str]:
    """The versions a lock file of the image pins; each has hashes, and nothing else is in the file."""
    blocks = re.findall(r"^(\S+==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text(name), re.MULTILINE)
    assert "".join(f"{pin} \\\n{hashes}" for pin, hashes in blocks) == text(name)
    return dict(pin.split("==") for pin, _ in blocks)


def test_the_image_is_locked_by_hash_to_the_versions_that_are_tested() -> None:
    tested = dict(line.split("==") for line in text("constraints.txt").splitlines())
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    declared = {_name(line) for line in (*project["dependencies"], *extras["redis"], *extras["jwt"])}
    pins = locked("image/requirements.txt")
    assert declared <= pins.keys() and "hatchling" in locked("image/build.txt")
    for name, version in (pins | locked("image/build.txt")).items():
        assert tested.get(name, version) == version, name


def test_the_image_installs_nothing_without_its_hash() -> None:
    steps = re.findall(r"pip (?:install|wheel|download) [^&\n\\]*", text("Dockerfile"))
    assert len(steps) == 4
    for step in steps:
        is_locked = "--require-hashes" in step and "--only-binary :all:" in step
        assert is_locked or "--no-index" in step or {"--no-deps", "--no-build-isolation"} <= set(step.split()), step
    assert text("Dockerfile").count("-name '*.pth'") == 1


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_compose_builds_the_proxy_and_scrapes_it() -> None:
    services = yaml_of("compose.yaml")["services"]
    assert set(services) == {"proxy", "redis", "prometheus"}
    assert services["proxy"]["read_only"] is True
    assert services["proxy"]["cap_drop"] == ["ALL"]
    (job,) = yaml_of("config/prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["proxy:8000"]}]
    (config,) = services["prometheus"]["configs"]
    assert config["target"] == job["authorization"]["credentials_file"]


@pytest.mark.parametrize("name", [line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")])
def test_the_image_is_built_from_files_that_exist(name: str) -> None:
    assert (ROOT / name).exists()
    assert re.search(rf"^COPY .*\b{re.escape(name)}\b", text("Dockerfile"), re.MULTILINE)


def test_the_image_runs_as_nobody_and_without_a_shell() -> None:
    last = text("Dockerfile").rpartition("FROM ")[2]
    assert "USER 65532:65532" in last
    assert "RUN" not in last
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.)", last, re.MULTILINE) == ["[", "["]
