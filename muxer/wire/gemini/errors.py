"""Google's error object: what it means, under an error status, under a 200 and in a stream."""

import re

import msgspec
from msgspec import Raw, Struct

from muxer.failures import (
    ProviderFailed,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from muxer.interfaces import Reply
from muxer.upstream import raise_for_status as raise_for_other_status
from muxer.upstream import retry_after_s, status_failure

MAX_WORDS = 500
MAX_PAUSE_S = 86_400

# https://ai.google.dev/gemini-api/docs/troubleshooting. FAILED_PRECONDITION is a project without billing.
_FAILURES: dict[str, type[ProviderFailed]] = {
    "UNAUTHENTICATED": UpstreamAuth,
    "PERMISSION_DENIED": UpstreamAuth,
    "FAILED_PRECONDITION": UpstreamAuth,
    "RESOURCE_EXHAUSTED": UpstreamRateLimited,
    "DEADLINE_EXCEEDED": UpstreamTimeout,
    "INVALID_ARGUMENT": UpstreamRefused,
    "NOT_FOUND": UpstreamRefused,
    "OUT_OF_RANGE": UpstreamRefused,
    "INTERNAL": UpstreamError,
    "UNAVAILABLE": UpstreamError,
    "UNKNOWN": UpstreamError,
    "ABORTED": UpstreamError,
    "CANCELLED": UpstreamError,
}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


class _Detail(Struct, rename="camel"):
    reason: str = ""
    retry_delay: str = ""


class GoogleError(Struct, frozen=True):
    """An error as Google writes it; `details` are objects of several types."""

    message: str = ""
    status: str = ""
    details: list[Raw] = msgspec.field(default_factory=list)

    @property
    def is_about_us(self) -> bool:
        """Whether the operator's key or account is at fault. A wrong key is an INVALID_ARGUMENT, told by its reason."""
        reasons = {detail.reason for detail in self._details()}
        return _FAILURES.get(self.status) is UpstreamAuth or any(reason.startswith("API_KEY_") for reason in reasons)

    @property
    def retry_after_s(self) -> float | None:
        """The pause asked for, from a RetryInfo among the details."""
        for detail in self._details():
            found = _DURATION.fullmatch(detail.retry_delay)
            if found and float(found[1]) < MAX_PAUSE_S:
                return float(found[1])
        return None

    def _details(self) -> list[_Detail]:
        found = []
        for detail in self.details:
            try:
                found.append(msgspec.json.decode(detail, type=_Detail))
            except msgspec.DecodeError:
                continue  # a type we do not read
        return found


class _Answer(Struct):
    error: GoogleError


_decode_error = msgspec.json.Decoder(GoogleError).decode
_decode_answer: msgspec.json.Decoder[_Answer | list[_Answer]] = msgspec.json.Decoder(_Answer | list[_Answer])


def failure(error: Raw, who: str) -> ProviderFailed:
    """The failure that an error object under a 200 means, whole or in a stream."""
    try:
        said = _decode_error(error)
    except msgspec.DecodeError:
        said = GoogleError()
    if said.is_about_us:
        # The upstream's own words may quote our key (B51).
        return UpstreamAuth(f"{who} reported {said.status}: check the provider's api_key and account")
    kind = _FAILURES.get(said.status, UpstreamBadResponse)
    words = f"{who} reported {said.status[:64] or 'an error'}: {said.message[:MAX_WORDS]}"
    return kind(words, retry_after_s=said.retry_after_s)


async def raise_for_status(reply: Reply, who: str) -> None:
    """Raises the ProviderFailed that a status other than 200 means, with what Google's details add: a wrong key comes
    as a 400, and the pause after a 429 in the body."""
    if reply.status < 400:
        await raise_for_other_status(reply, who)
        return
    error = _read(await reply.read())
    said = f"{who} answered {reply.status}" + (f": {error.message[:MAX_WORDS]}" if error.message else "")
    pause_s = retry_after_s(reply.headers)
    if error.is_about_us:
        raise status_failure(401, f"{who} answered {reply.status}", None)
    raise status_failure(reply.status, said, error.retry_after_s if pause_s is None else pause_s)


def _read(body: bytes) -> GoogleError:
    """The error of an answer, which is sometimes in a list of one; empty when there is none."""
    try:
        answer = _decode_answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return GoogleError()
    if isinstance(answer, list):
        return answer[0].error if answer else GoogleError()
    return answer.error
