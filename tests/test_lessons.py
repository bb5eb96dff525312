"""Routes with `learn: true`: what their records keep of a prompt, and that it is no word of it."""

import re
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from muxer.fence import Fence, FencedSignal
from muxer.interfaces import Signal
from muxer.lessons import MOST_FEATURES
from muxer.signals import kept
from muxer.testing import ManualClock, a_request
from tests.odd_guards import Moody
from tests.proxy import Lines, OpenProxy, Silent

PLUGINS = "[openai, sqlite, difficulty]"
LEARNS = "[{name: chat, when: 'chars > 5', use: [small], learn: true}, {name: default, use: [small]}]"
PROMPT = "Prove the spectral theorem for compact operators, as Zerlina Quackenbush would"


async def test_only_a_route_that_learns_keeps_features(proxy: OpenProxy) -> None:
    opened = await proxy(plugins=PLUGINS, routes=LEARNS)
    found = []
    for fields in ({}, {"messages": [{"role": "user", "content": "Hi"}]}, {"model": "small"}):
        found.append((await opened.record(await opened.chat(**fields))).features)
    assert found[0].keys() == {"difficulty"} and found[1:] == [{}, {}]


async def test_what_is_kept_outlives_the_settlement_and_measures_the_same(proxy: OpenProxy) -> None:
    opened = await proxy(plugins=PLUGINS, routes=LEARNS)
    record = await opened.record(await opened.chat(messages=[{"role": "user", "content": PROMPT}]))
    signal: Any = opened.assembly.parts.signals["difficulty"]
    assert record.state == "done"
    assert record.features == kept(a_request(PROMPT), {"difficulty": signal})
    shown = (await opened.get(f"/v1/requests/{record.id}"))["features"]
    assert shown == record.features


async def test_no_word_of_a_prompt_is_in_the_store_or_the_log(proxy: OpenProxy, tmp_path_factory: Any) -> None:
    opened = await proxy(plugins=PLUGINS, routes=LEARNS)
    record = await opened.record(await opened.chat(messages=[{"role": "user", "content": PROMPT}]))
    folder = opened.origin.path.parent
    kept_bytes = b"".join(path.read_bytes() for path in folder.glob("muxer.db*") if path.is_file())
    assert record.features["difficulty"].encode() in kept_bytes
    features = urlsafe_b64decode(record.features["difficulty"] + "===")
    for word in re.findall(r"\w{4,}", PROMPT):
        for form in (word, word.lower()):
            assert form.encode() not in kept_bytes and form.encode() not in features
            assert form not in str(opened.log.lines)


async def test_without_a_signal_that_learns_nothing_is_kept(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, heuristics]", routes=LEARNS)
    assert (await opened.record(await opened.chat())).features == {}


async def test_what_a_guard_takes_out_is_not_kept(proxy: OpenProxy) -> None:
    opened = await proxy(plugins="[openai, sqlite, difficulty, redact]", routes=LEARNS, guards="[{kind: redact}]")
    asked = [{"role": "user", "content": "Write to zerlina@example.org about the operators"}]
    record = await opened.record(await opened.chat(messages=asked))
    signals = opened.assembly.parts.signals
    assert record.features and record.features != kept(a_request(asked[0]["content"]), signals)


async def test_a_reload_makes_a_route_learn(proxy: OpenProxy) -> None:
    opened = await proxy(plugins=PLUGINS)
    before = await opened.record(await opened.chat())
    opened.write(plugins=PLUGINS, routes=LEARNS)
    await opened.live.reload()
    assert (before.features, (await opened.record(await opened.chat())).features != {}) == ({}, True)


@pytest.mark.parametrize("question", ["raise", "junk", "text", "long"])
def test_a_signal_that_fails_keeps_nothing(question: str) -> None:
    log = Lines()
    signal: Signal = FencedSignal(Moody(), {"mood": float}, Fence("signal odd", Silent(), log, ManualClock()))
    assert kept(a_request(question), {"odd": signal}) == {}
    assert len(log.lines) == (0 if question == "text" else 1)
    assert kept(a_request("most"), {"odd": signal}) == {"odd": "x" * MOST_FEATURES}
