"""The library at the edge: the proxy does not start on one that is known to be weak."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muxer.edge import LEAST_AIOHTTP, check_library
from muxer.errors import ConfigInvalid
from tests.processes import START_S

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("version", ["3.14.4", "3.14.5", "3.15.0", "4.0.0a1", "3.14.10"])
def test_a_library_of_today_will_do(version: str) -> None:
    check_library(version, is_compiled=True)


@pytest.mark.parametrize("version", ["3.14.3", "3.9.99", "2.99.99", "3.14", ""])
def test_one_with_known_holes_is_refused_with_the_remedy(version: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"closed in 3\.14\.4; install it from a wheel"):
        check_library(version, is_compiled=True)


def test_the_least_version_is_the_one_that_is_installed_at_least() -> None:
    (least,) = re.findall(r'"aiohttp>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert least == ".".join(map(str, LEAST_AIOHTTP))


def test_a_proxy_without_the_c_parser_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "muxer", "serve", "--demo", "--port", "0"],
        env={"PATH": os.environ["PATH"], "AIOHTTP_NO_EXTENSIONS": "1"},
        cwd=tmp_path,
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == 2
    assert b"without its C parser; install it from a wheel" in done.stderr and b"Traceback" not in done.stderr
