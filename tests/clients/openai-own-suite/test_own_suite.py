"""The `openai` package's own tests of what we serve, from its source distribution, with the proxy as the API."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / ".venv-clients/openai-own-suite/source"
FILES = ["chat/test_completions.py", "test_completions.py", "test_embeddings.py", "test_models.py", "test_responses.py"]


def test_all_but_what_is_named(url: str) -> None:
    lines = (HERE / "deselected.txt").read_text().splitlines()
    named = [line.partition(" ")[0] for line in lines if line and not line.startswith("#")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "--tb=short"),
            *(f"tests/api_resources/{file}" for file in FILES),
            *(f"--deselect=tests/api_resources/{one}" for one in named),
        ],
        cwd=SOURCE,
        env={**os.environ, "TEST_API_BASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout)  # noqa: T201  # shown where it failed, and the counts with -rP
    assert done.returncode == 0
