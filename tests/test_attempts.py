"""What one attempt cost, whichever way it ended (S8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muxer.attempts import Running
from muxer.catalog import Model
from muxer.errors import InvalidRequest
from muxer.failures import (
    ProviderFailed,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from muxer.money import Price, Rates
from muxer.plans import Candidate
from muxer.testing import a_claim
from muxer.types import Usage

MODEL = Model(name="m-1", provider="p-1", upstream="m-1-large", price=Price(Rates(1_000, 2_000, 100, 1_250)))
CANDIDATE = Candidate(
    model=MODEL,
    bound_nanos=500,
    floor_nanos=100,
    expected_nanos=60,
    claims=(a_claim(),),
    quotas=(),
    bound_input_tokens=100,
)
HARD = Running(candidate=CANDIDATE, granted_nanos=400, begun_at=10.0, estimate_tokens=25)
SOFT = replace(HARD, candidate=replace(CANDIDATE, claims=(a_claim(soft=True),)))
FREE_OF_LIMITS = replace(HARD, candidate=replace(CANDIDATE, claims=()))
NONE = [UpstreamUnreachable, UpstreamError, UpstreamAuth, UpstreamRateLimited, UpstreamRefused]
PRESUMED = [UpstreamCut, UpstreamTimeout, UpstreamBadResponse, UpstreamBlocked]


def test_the_provider_s_usage_is_exact_to_the_nano_dollar() -> None:
    attempt = HARD.answered(Usage(input_tokens=10, output_tokens=3, cached_input_tokens=4), 0, now=10.5)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("exact", 13, 0)  # 6 + 0.4 + 6, rounded up
    assert (attempt.model, attempt.provider, attempt.upstream, attempt.ms) == ("m-1", "p-1", "m-1-large", 500.0)


def test_a_usage_of_nothing_is_exact_too() -> None:
    attempt = HARD.answered(Usage(), 1_000, now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("exact", 0, 0)


def test_an_answer_without_usage_stays_counted_in_full_under_a_hard_budget() -> None:
    attempt = HARD.answered(None, 1_000, now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("presumed", 0, 400)


@pytest.mark.parametrize("running", [SOFT, FREE_OF_LIMITS], ids=["soft", "no limit"])
def test_an_answer_without_usage_is_counted_by_ourselves_otherwise(running: Running) -> None:
    attempt = running.answered(None, 41, now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("counted", 25 + 11 * 2, 0)


@pytest.mark.parametrize("error", NONE)
def test_what_surely_was_not_billed_costs_nothing(error: type[ProviderFailed]) -> None:
    attempt = HARD.failed(error("no", upstream_status=500), now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("none", 0, 0)
    assert (attempt.status, attempt.error) == (500, error.code)


@pytest.mark.parametrize(("running", "presumed"), [(HARD, 400), (SOFT, 60)], ids=["hard", "soft"])
@pytest.mark.parametrize("error", PRESUMED)
def test_what_may_have_been_billed_stays_counted(error: type[ProviderFailed], running: Running, presumed: int) -> None:
    attempt = running.failed(error("no"), now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("presumed", 0, presumed)


@pytest.mark.parametrize("error", [*NONE, *PRESUMED])
@pytest.mark.parametrize("running", [HARD, SOFT], ids=["hard", "soft"])
def test_a_failure_that_says_what_was_charged_costs_exactly_that(error: type[ProviderFailed], running: Running) -> None:
    attempt = running.failed(error("no", usage=Usage(input_tokens=10, output_tokens=3)), now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("exact", 16, 0)


def test_a_call_nobody_waits_for_any_more_stays_counted() -> None:
    assert (HARD.abandoned(10.0).presumed_nanos, SOFT.abandoned(10.0).presumed_nanos) == (400, 60)


def test_a_request_the_provider_cannot_express_was_never_sent() -> None:
    attempt = HARD.refused(InvalidRequest("no"), now=10.0)
    assert (attempt.outcome, attempt.cost_nanos, attempt.presumed_nanos) == ("none", 0, 0)


def test_a_model_without_price_costs_nothing_that_we_know_of() -> None:
    unknown = replace(SOFT, candidate=replace(SOFT.candidate, model=replace(MODEL, price=None)))
    assert unknown.answered(Usage(10, 10), 0, now=10.0).cost_nanos == 0
    assert unknown.answered(None, 100, now=10.0).cost_nanos == 0


tokens = st.integers(0, 10**9)


@given(st.builds(Usage, tokens, tokens, tokens, tokens, tokens))
def test_no_usage_however_odd_makes_a_negative_cost(usage: Usage) -> None:
    attempt = HARD.answered(usage, 0, now=10.0)
    assert attempt.cost_nanos >= 0 and attempt.presumed_nanos == 0
