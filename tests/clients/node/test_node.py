"""The packages for Node: their tests are beside this file, run by node's own runner against the proxy."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / ".venv-clients/node"


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_node(url: str, busy: str, name: str) -> None:
    # A module finds packages beside or above itself, and nowhere else.
    for path in HERE.glob("*.mjs"):
        shutil.copy(path, INSTALLED)
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", name],
        cwd=INSTALLED,
        env={**os.environ, "MUXER_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout)  # noqa: T201  # shown where it failed
    assert done.returncode == 0
    assert "\n# skipped 0\n" in done.stdout and "\n# pass 0\n" not in done.stdout
