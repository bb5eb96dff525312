"""A model asked how sure it is of its own answer: an attempt like any other, held and charged. Pure."""

from msgspec.structs import replace

from muxer.confidence import CHECK, CHECK_TOKENS, REASONED_CHECK_TOKENS, self_check
from muxer.plans import Candidate, with_retries
from muxer.signals import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE
from muxer.types import Call, Usage
from muxer.wire import openai_chat


def check_of(candidate: Candidate, answer: str) -> Candidate:
    """The candidate with what the question about its answer costs: it reads the conversation again, and the answer."""
    cap, price = _cap(candidate), candidate.model.price
    added = len((answer + CHECK).encode("utf-8", "surrogatepass"))
    bound_input = candidate.bound_input_tokens + added + 2 * TOKENS_PER_MESSAGE
    likely = Usage(candidate.likely.input_tokens + added // BYTES_PER_TOKEN, CHECK_TOKENS)
    bound = price.bound_nanos(bound_input, cap) if price else 0
    expected = with_retries(price.cost_nanos(likely), candidate.retry_share) if price else 0
    return replace(
        candidate,
        bound_nanos=bound,
        floor_nanos=bound,
        expected_nanos=min(bound, expected),
        bound_input_tokens=bound_input,
        likely=likely,
        long_output_tokens=cap,
        inserted_cap=None,
    )


def check_call(answered: Call, candidate: Candidate, answer: str) -> Call:
    """The call that asks, after one that was answered so."""
    cap = _cap(candidate)
    request = self_check(answered.request, answer, cap)
    return Call(
        id=answered.id,
        api=openai_chat.API,
        raw=openai_chat.encode(request),
        request=request,
        model=answered.model,
        output_cap=cap,
        takes_sampling=answered.takes_sampling,
    )


def _cap(candidate: Candidate) -> int:
    """Models that reason do so within their output cap."""
    model = candidate.model
    cap = CHECK_TOKENS if model.takes_sampling else REASONED_CHECK_TOKENS
    return min(cap, model.max_output_tokens or cap)
