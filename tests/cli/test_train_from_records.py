import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from zlib import crc32

import muxer_difficulty
import pytest
from msgspec.structs import replace
from muxer_difficulty import SHIPPED, Difficulty
from muxer_difficulty.model import load
from muxer_sqlite import SqliteSettings, open_sqlite

from muxer import KeepsFeedback, Record, Store
from muxer.cli.train import HELD_SHARE
from muxer.embedded import Muxer
from muxer.testing import a_choice, a_record, a_request, open_context
from muxer.testing.builders import START_S
from tests.cli.running import Ran
from tests.plugins.redis_server import Server, opened

Run = Callable[..., Ran]
WORDS = ("--strong", "big", "--cheap", "small,tiny", "--out", "difficulty.model")
FROM = ("--from", "muxer.db")
LEARNING = """\
version: 1
plugins: [difficulty, openai, sqlite]
providers: {local: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
models:
  big: {provider: local, name: big, price: free}
  small: {provider: local, name: small, price: free}
routes:
  - {name: trial, share: 50%, use: [big], learn: true}
  - {name: default, use: [small], learn: true}
"""
SIGNAL = Difficulty(load((Path(muxer_difficulty.__file__).parent / SHIPPED).read_bytes()))
MADE_UP = map("".join, product("bdfgklm", "aeiou", "lmnrs", "aeiou"))
# Words of which the model that ships knows nothing.
STRANGE = [word for word in MADE_UP if SIGNAL.measure(a_request(word)) == SIGNAL.measure(a_request(""))]
EASY, HARD = STRANGE[:6], STRANGE[6:12]


def drawn(chance: random.Random) -> tuple[str, bool]:
    """A prompt, and whether it is hard."""
    is_hard = chance.random() < 0.5
    return " ".join(chance.choices(HARD if is_hard else EASY, k=6)), is_hard


def judged(chance: random.Random, model: str, *, is_hard: bool) -> float:
    """How good an answer is: the small model mostly fails on hard prompts, and both by chance."""
    fails = chance.random() < (0.85 if is_hard and model != "big" else 0.1)
    return 0.0 if fails else 1.0


def graded(path: Path, count: int = 400) -> str:
    """Fresh prompts with the answers of both models graded."""
    chance, lines = random.Random(99), []
    for _ in range(count):
        words, is_hard = drawn(chance)
        models = {name: {"s": judged(chance, name, is_hard=is_hard)} for name in ("big", "small")}
        lines.append(json.dumps({"prompt": words, "models": models}))
    path.write_text("\n".join(lines))
    return path.name


def records(count: int, seed: int = 1, share: float = 0.5) -> list[Record]:
    """Requests with a score, as a route that learns records them."""
    chance, found = random.Random(seed), []
    for number in range(count):
        words, is_hard = drawn(chance)
        model = "big" if chance.random() < share else chance.choice(["small", "tiny"])
        found.append(
            a_record(
                id=f"r-{number:05}",
                at=float(START_S + number),
                state="done",
                model=model,
                features={"difficulty": SIGNAL.features(a_request(words))},
                feedback=judged(chance, model, is_hard=is_hard),
            )
        )
    return found


def is_held(record: Record) -> bool:
    """Whether it is held back from training."""
    return crc32((record.features or {})["difficulty"].encode()) % HELD_SHARE == 0


async def put(store: Store, of: Sequence[Record]) -> None:
    """Keeps them in a store."""
    assert isinstance(store, KeepsFeedback)
    for record in of:
        await store.hold(replace(record, state="open", feedback=None), [a_choice(0)])
        await store.settle(record)
        if record.feedback is not None:
            await store.feedback(record.id, record.feedback)


def write(folder: Path, of: Sequence[Record]) -> None:
    """Keeps them in the folder's muxer.db."""

    async def keep() -> None:
        settings = SqliteSettings(retention_days=None)
        async with open_context(folder) as context, open_sqlite(settings, context) as store:
            await put(store, of)

    asyncio.run(keep())


def quality(muxer: Run, tmp_path: Path, *artefact: str) -> float:
    """The APGR of the signal on fresh prompts."""
    data = graded(tmp_path / "graded.jsonl")
    words = ("--strong", "big", "--cheap", "small", "--signal", "difficulty", *artefact, "--json")
    found = json.loads(muxer("eval", data, *words).out)
    return float(found["ranked"]["difficulty"]["value"]["apgr"])


def test_two_hundred_scores_of_own_traffic_help(tmp_path: Path, muxer: Run) -> None:
    """The whole way: requests through the proxy, scores from a file, training from its store."""
    path = tmp_path / "routing.yaml"
    path.write_text(LEARNING)
    before, chance, kinds = quality(muxer, tmp_path), random.Random(3), {}

    async def ask() -> None:
        async with Muxer(path, demo=True, environ={}) as mux:
            for _ in range(200):
                words, is_hard = drawn(chance)
                answer = await mux.acompletion(messages=[{"role": "user", "content": words}])
                kinds[answer["router_metadata"]["request_id"]] = is_hard

    asyncio.run(ask())
    told = json.loads(muxer("requests", "--limit", "200", "--json").out)
    scores = [
        {"request_id": one["id"], "score": judged(chance, one["model"], is_hard=kinds[one["id"]])} for one in told
    ]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, scores)))
    assert muxer("feedback", "import", "scores.jsonl").out == "200 scores kept\n"
    ran = muxer("train", *FROM, *WORDS, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["records"] == {
        "scored": 200, "lessons": 200, "of_other_models": 0, "without_features": 0, "hashed_otherwise": 0,
    }  # fmt: skip
    assert (found["measure"], found["learned_from"] + found["held"], found["written"]) == ("lift", 200, True)
    assert found["after"] > max(found["before"], 0.05)
    assert quality(muxer, tmp_path, "--artefact", "difficulty.model") > max(before + 0.05, 0.7)


def test_a_report_of_records_has_their_curve_and_says_what_is_not_known(tmp_path: Path, muxer: Run) -> None:
    write(tmp_path, records(200))
    ran = muxer("train", "--from", "muxer.db", *WORDS, "--report", "report.html", "--json")
    assert ran.code == 0, ran.err
    found, page = json.loads(ran.out), (tmp_path / "report.html").read_text()
    assert f"{found['held']} of those are records with one answer each" in page
    assert f"<td>{found['after']:+.3f}</td>" in page
    assert page.count("<svg") == 1 and "thirty in a hundred" not in page


def test_scores_and_graded_prompts_are_learned_from_together(tmp_path: Path, muxer: Run) -> None:
    write(tmp_path, records(60))
    ran = muxer("train", graded(tmp_path / "own.jsonl", 60), *FROM, *WORDS)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("60 records with a score, of which 60 can be learned from\nlearned from ")
    assert "quality above chance on those: +0." in ran.out


def test_what_cannot_be_learned_from_is_counted(tmp_path: Path, muxer: Run) -> None:
    fine = records(80)
    odd: list[dict[str, object]] = [
        {"features": {}},
        {"model": "other"},
        {"features": {"difficulty": "Bw"}},
        {"feedback": None},
    ]
    odd_records = [replace(fine[at], id=f"odd-{at}", **changes) for at, changes in enumerate(odd)]
    write(tmp_path, [*fine, *odd_records])
    found = json.loads(muxer("train", *FROM, *WORDS, "--json").out)["records"]
    assert found == {
        "scored": 83, "lessons": 80, "of_other_models": 1, "without_features": 1, "hashed_otherwise": 1,
    }  # fmt: skip
    told = muxer("train", *FROM, *WORDS, "--force").err
    assert "left out: 1 without features: `learn: true` on their route keeps them" in told


def test_a_worse_one_is_refused_here_too(tmp_path: Path, muxer: Run) -> None:
    write(tmp_path, records(400))
    assert muxer("train", *FROM, *WORDS).code == 0
    good = (tmp_path / "difficulty.model").read_bytes()
    (tmp_path / "muxer.db").unlink()
    noise = random.Random(1)
    # What is learned from says nothing, and what is held back is as it was.
    write(
        tmp_path,
        [one if is_held(one) else replace(one, feedback=float(noise.random() < 0.5)) for one in records(400, 2)],
    )
    ran = muxer("train", *FROM, *WORDS)
    assert (ran.code, (tmp_path / "difficulty.model").read_bytes()) == (1, good)
    assert "difficulty.model stays as it is" in ran.err


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (records(200, share=0.0), "0 records with a score of big; training takes at least 10 of each side"),
        (records(200, share=1.0), "0 records with a score of small or tiny; training takes at least 10 of each side"),
        (records(30), "0 rows with both models and 30 records with a score and features; training takes at least 50"),
        ([], "0 records with a score and features"),
    ],
)
def test_too_little_is_an_error_that_says_what_to_do(of: list[Record], told: str, tmp_path: Path, muxer: Run) -> None:
    write(tmp_path, of)
    ran = muxer("train", *FROM, *WORDS)
    assert ran.code == 2 and told in ran.err


def test_without_data_there_is_nothing_to_learn(tmp_path: Path, muxer: Run) -> None:
    assert "name files with answers of both models, or records with --from" in muxer("train", *WORDS).err
    ran = muxer("train", *FROM, *WORDS)
    assert ran.code == 2 and "no requests are recorded in muxer.db: no such file" in ran.err
    assert not (tmp_path / "muxer.db").exists()


def test_only_some_of_the_time_may_be_meant(tmp_path: Path, muxer: Run) -> None:
    write(tmp_path, records(80))
    assert "0 records with a score and features" in muxer("train", *FROM, *WORDS, "--since", "1d").err


def test_records_of_another_store_are_read_by_the_file_that_names_it(tmp_path: Path, muxer: Run) -> None:
    async def keep(url: str) -> None:
        async with opened(url) as store:
            await put(store, [replace(one, at=time.time()) for one in records(80)])  # this one forgets after 30 days

    with Server() as server:
        text = LEARNING.replace("sqlite]", f"redis]\nstore: {{kind: redis, url: '{server.url}'}}")
        (tmp_path / "other.yaml").write_text(text)
        asyncio.run(keep(server.url))
        ran = muxer("train", "--from", "other.yaml", *WORDS, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["records"]["lessons"] == 80
