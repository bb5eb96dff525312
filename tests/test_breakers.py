"""Which models are set aside, for how long, and how they come back (F1, F2)."""

import pytest

from muxer.breakers import AUTH_PAUSE_S, FAILURE_PAUSE_S, WINDOW_S, Breakers
from muxer.catalog import Model
from muxer.failures import ProviderFailed, UpstreamAuth, UpstreamError, UpstreamRateLimited, UpstreamRefused
from muxer.testing import ManualClock
from tests.proxy import Silent

MODEL, *OTHERS = [Model(name=name, provider="p", upstream=name) for name in "abcd"]
OOPS = UpstreamError("oops")


def fail(breakers: Breakers, model: Model, times: int = 1, error: ProviderFailed = OOPS) -> None:
    for _ in range(times):
        breakers.failed(model, breakers.enter(model), error)


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (UpstreamRateLimited("busy", retry_after_s=7), 7),
        (UpstreamRateLimited("busy"), 1),
        (UpstreamRateLimited("busy", retry_after_s=600), 120),
        (UpstreamAuth("no"), AUTH_PAUSE_S),
        (UpstreamError("oops"), 0),
        (UpstreamRefused("no"), 0),
    ],
)
def test_each_failure_has_its_own_pause(error: ProviderFailed, pause_s: float) -> None:
    clock = ManualClock()
    breakers = Breakers(clock, Silent())
    fail(breakers, MODEL, error=error)
    assert bool(breakers.reason(MODEL)) == (pause_s > 0)
    clock.now_s += pause_s
    assert breakers.reason(MODEL) == ""


def test_five_failures_in_a_row_set_a_model_aside() -> None:
    breakers = Breakers(ManualClock(), Silent())
    fail(breakers, MODEL, 4)
    assert breakers.reason(MODEL) == ""
    fail(breakers, MODEL)
    assert breakers.reason(MODEL).endswith("after upstream_error")
    assert breakers.enter(MODEL) == "closed"


def test_a_success_between_failures_starts_the_row_again() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, Silent())
    for _ in range(3):
        fail(breakers, MODEL, 4)
        breakers.succeeded(MODEL, "free")
        clock.now_s += WINDOW_S
    assert breakers.reason(MODEL) == ""


def test_five_failures_that_are_half_of_all_within_the_window_do_too() -> None:
    breakers = Breakers(ManualClock(), Silent())
    for _ in range(5):
        breakers.succeeded(MODEL, "free")
        assert breakers.reason(MODEL) == ""
        fail(breakers, MODEL)
    assert breakers.reason(MODEL)


def test_few_failures_among_many_answers_do_not() -> None:
    breakers = Breakers(ManualClock(), Silent())
    for _ in range(20):
        breakers.succeeded(MODEL, "free")
        breakers.succeeded(MODEL, "free")
        fail(breakers, MODEL)
    assert breakers.reason(MODEL) == ""


def test_an_answer_that_began_before_does_not_end_a_pause() -> None:
    breakers = Breakers(ManualClock(), Silent())
    earlier = breakers.enter(MODEL)
    fail(breakers, MODEL, error=UpstreamRateLimited("busy", retry_after_s=7))
    breakers.succeeded(MODEL, earlier)
    assert breakers.reason(MODEL)


def test_after_its_pause_one_request_tries_a_model_and_the_others_wait_for_its_end() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, Silent())
    fail(breakers, MODEL, 5)
    clock.now_s += FAILURE_PAUSE_S
    assert [breakers.enter(MODEL) for _ in range(3)] == ["probe", "closed", "closed"]
    assert "tried again" in breakers.reason(MODEL)
    breakers.failed(MODEL, "probe", OOPS)
    assert breakers.enter(MODEL) == "closed"
    clock.now_s += FAILURE_PAUSE_S
    assert breakers.enter(MODEL) == "probe"
    breakers.left(MODEL, "probe")
    assert breakers.enter(MODEL) == "probe"
    breakers.succeeded(MODEL, "probe")
    assert [breakers.enter(MODEL) for _ in range(2)] == ["free", "free"]


def test_a_probe_that_is_refused_for_the_request_itself_leaves_the_place_to_the_next() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, Silent())
    fail(breakers, MODEL, 5)
    clock.now_s += FAILURE_PAUSE_S
    breakers.failed(MODEL, breakers.enter(MODEL), UpstreamRefused("no"))
    assert breakers.enter(MODEL) == "probe"


def test_at_most_half_of_the_models_are_set_aside_for_failures_whoever_else_has_a_pause() -> None:
    breakers = Breakers(ManualClock(), Silent())
    for model in OTHERS:
        breakers.succeeded(model, "free")
    fail(breakers, OTHERS[0], error=UpstreamRateLimited("busy", retry_after_s=7))
    fail(breakers, MODEL, 5)
    fail(breakers, OTHERS[1], 5)
    fail(breakers, OTHERS[2], 50)
    assert [bool(breakers.reason(model)) for model in (MODEL, *OTHERS)] == [True, True, True, False]
