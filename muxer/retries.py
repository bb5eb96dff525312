"""When the same model may be asked again for one request, how long to wait before, and how many may do so at once."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from muxer.catalog import Model
from muxer.failures import ProviderFailed
from muxer.plans import Candidate

MAX_ATTEMPTS = 3  # the first and two more, fallbacks included (RELIABILITY 2)
RETRY_SHARE = 0.2  # of the requests in flight (F2)
LEAST_RETRIES = 3  # at once, however few requests there are
BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 2.0


class RetryBudget:
    """How many requests wait for another try, or make it, so that retries cannot become a storm of their own."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.retrying = 0

    @property
    def is_spent(self) -> bool:
        """Whether one more would pass the share."""
        return self.retrying >= max(LEAST_RETRIES, RETRY_SHARE * self.in_flight)

    @contextmanager
    def retry(self) -> Iterator[None]:
        """Around one retry, the pause before it included."""
        self.retrying += 1
        try:
            yield
        finally:
            self.retrying -= 1


class Untried(Struct, frozen=True):
    """A candidate that had no turn yet."""

    candidate: Candidate


class Repeatable(Struct, frozen=True):
    """A candidate that failed in passing, and the pause before it may be asked again."""

    candidate: Candidate
    pause_s: float


def may_repeat(model: Model, error: ProviderFailed) -> bool:
    """Whether the same model may be asked again: it failed in passing, did not ask for a long pause, and cannot bill
    the first try, or the file takes that risk (`retry_uncertain`, F4)."""
    if not error.is_transient or (error.retry_after_s or 0.0) > LONGEST_BACKOFF_S:
        return False
    return error.outcome == "none" or model.retry_uncertain


def pause_s(retry: int, error: ProviderFailed) -> float:
    """Full jitter (Brooker, AWS, 2015): anywhere up to a ceiling that doubles; never before the upstream's own word."""
    ceiling_s = min(LONGEST_BACKOFF_S, BACKOFF_S * 2**retry)
    return max(error.retry_after_s or 0.0, random.uniform(0, ceiling_s))  # noqa: S311  # spreads load, keeps no secret
