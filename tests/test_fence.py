"""What keeps the faults of a plugin's object to itself, on an injected clock."""

import pytest

from muxer.fence import PAUSE_S, ComponentFailed, Fence, FencedSignal
from muxer.interfaces import Signal
from muxer.testing import ManualClock
from muxer.types import ChatRequest, Message
from tests.odd_guards import Moody
from tests.proxy import Lines, OpenProxy, Silent


def fence(clock: ManualClock, log: Lines) -> Fence:
    return Fence("guard odd", Silent(), log, clock)


def fail(fence: Fence, error: BaseException) -> None:
    with pytest.raises(ComponentFailed), fence.around():
        raise error


def test_after_five_failures_in_a_row_it_is_left_alone_for_a_while() -> None:
    clock, log = ManualClock(), Lines()
    one = fence(clock, log)
    for _ in range(4):
        fail(one, KeyError())
    one.succeeded()
    for _ in range(4):
        fail(one, KeyError())
    before = one.is_closed
    fail(one, KeyError())
    after = one.is_closed
    clock.now_s += PAUSE_S
    assert [before, after, one.is_closed] == [False, True, False]


def test_each_reason_is_logged_once_and_without_the_words_of_the_error() -> None:
    log = Lines()
    one = fence(ManualClock(), log)
    for error in (KeyError("sk-a-secret"), ValueError("sk-a-secret"), TimeoutError(), TimeoutError()):
        fail(one, error)
    assert [line["reason"] for line in log.lines] == ["raised", "timeout"]
    assert "secret" not in str(log.lines)


def test_what_may_pass_is_no_failure() -> None:
    log = Lines()
    with pytest.raises(KeyError), fence(ManualClock(), log).around(KeyError):
        raise KeyError
    assert log.lines == []


@pytest.mark.parametrize("question", ["raise", "exit", "junk", "nan", "text"])
def test_a_signal_that_fails_measures_nothing(question: str) -> None:
    log = Lines()
    signal: Signal = FencedSignal(Moody(), {"mood": float, "tongue": str}, fence(ManualClock(), log))
    request = ChatRequest(messages=(Message(role="user", content=question),))
    assert signal.measure(request) == {"mood": 0.0, "tongue": ""}
    assert len(log.lines) == 1


def test_a_signals_text_is_cut() -> None:
    signal = FencedSignal(Moody(), {"mood": float, "tongue": str}, fence(ManualClock(), Lines()))
    measured = signal.measure(ChatRequest(messages=(Message(role="user", content="long"),)))
    assert measured == {"mood": 1, "tongue": "x" * 256}


async def test_a_request_goes_on_without_the_signal_that_failed(proxy: OpenProxy) -> None:
    routes = "[{name: moody, when: mood > 0, use: [large]}, {name: default, use: [small]}]"
    running = await proxy(plugins="[openai, sqlite, tests.odd_guards]", routes=routes)
    for question, route in (("hello", "moody"), ("raise", "default"), ("exit", "default"), ("hello", "moody")):
        response = await running.post({"messages": [{"role": "user", "content": question}]})
        assert response.status == 200 and response.headers["x-muxer-route"] == route
