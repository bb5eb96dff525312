"""Secrets in files: what is taken from them, what is wrong with them, and that none is ever told (B65)."""

import os
from pathlib import Path

import pytest

from muxer import ProviderSettings, Secret
from muxer.config.contents import read_contents
from muxer.errors import ConfigInvalid
from tests.config.example import FULL, load_text

TEXT = FULL.replace("${OPENAI_API_KEY}", "${file:key.txt}")


def key_of(folder: Path, text: str = TEXT) -> Secret | None:
    settings = load_text(folder, text).settings.providers["openai"].settings
    assert isinstance(settings, ProviderSettings)
    return settings.api_key


@pytest.mark.parametrize("data", ["cnry-file", "cnry-file\n", "cnry-file\r\n", "\ufeffcnry-file\n\n"])
def test_a_secret_is_what_its_file_holds(tmp_path: Path, data: str) -> None:
    (tmp_path / "key.txt").write_text(data, encoding="utf-8", newline="")
    assert key_of(tmp_path) == Secret("cnry-file")
    assert key_of(tmp_path, TEXT.replace("key.txt", str(tmp_path / "key.txt"))) == Secret("cnry-file")


def test_a_file_and_a_variable_may_stand_in_one_value(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("cnry-file")
    both = TEXT.replace("${file:key.txt}", "$${a}-${file:key.txt}-${NOT_SET:-b}")
    assert key_of(tmp_path, both) == Secret("${a}-cnry-file-b")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"cnry-\xff", "not UTF-8"),
        (b"cnry" * 20_000, "larger than 64_000 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_fault_at_its_place(tmp_path: Path, data: bytes | None, problem: str) -> None:
    if data is not None:
        (tmp_path / "key.txt").write_bytes(data)
    with pytest.raises(ConfigInvalid) as invalid:
        load_text(tmp_path, TEXT)
    (fault,) = invalid.value.faults
    assert fault.message == f"the file of the secret cannot be used: key.txt: {problem}"
    assert fault.line and fault.path == "providers.openai.api_key" and "cnry" not in str(fault)


@pytest.mark.parametrize("path", [".", "", "a\\0b", "x" * 5_000])
def test_what_is_no_file_is_a_fault(tmp_path: Path, path: str) -> None:
    text = FULL.replace("${OPENAI_API_KEY}", f"${{file:{path}}}")
    with pytest.raises(ConfigInvalid, match="the file of the secret cannot be used"):
        load_text(tmp_path, text)


def test_a_file_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text("cnry-file")
    for mode, warned in ((0o644, True), (0o600, False), (0o640, False)):
        file.chmod(mode)
        warnings = [str(one) for one in load_text(tmp_path, TEXT).warnings if "can read" in one.message]
        assert len(warnings) == warned
        assert not warned or "every user of this machine can read key.txt; take the right away" in warnings[0]


def test_another_content_is_another_configuration(tmp_path: Path) -> None:
    file, digests = tmp_path / "key.txt", set()
    for data in ("one-secret", "two-secret", "two-secret"):
        file.write_text(data)
        configuration = load_text(tmp_path, TEXT)
        digests.add((read_contents(tmp_path / "routing.yaml").digest, configuration.digest))
    assert len(digests) == 2


def test_what_is_kept_of_the_files_does_not_show_them(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("cnry-file")
    configuration = load_text(tmp_path, TEXT)
    assert "cnry" not in repr(configuration)
    assert "cnry" not in repr(read_contents(tmp_path / "routing.yaml").secrets)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key.txt")
    with pytest.raises(ConfigInvalid, match="not a plain file"):
        load_text(tmp_path, TEXT)
