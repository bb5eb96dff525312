"""How an attempt at an upstream can fail: the branch `ProviderFailed` of the tree in errors.py."""

from typing import ClassVar

from muxer.errors import MuxerError
from muxer.types import FallbackCause, Outcome, Usage


class ProviderFailed(MuxerError):
    """An upstream attempt failed before an answer began.

    `outcome` says how it is billed (S8), `falls_back` whether the next candidate may be tried, `fallback_cause` the
    word of a route's `fallback_on` that lets it all the same, `is_transient` whether the same one may answer a moment
    later, `upstream_status` what the upstream said (0: nothing), `retry_after_s` how long it asked to be left alone,
    `usage` what it charges all the same where it said so: that is then the bill, whatever `outcome` says.
    """

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    outcome: ClassVar[Outcome] = "none"
    falls_back: ClassVar[bool] = True
    fallback_cause: ClassVar[FallbackCause | None] = None
    is_transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int = 0,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s
        self.usage = usage

    @property
    def headers(self) -> dict[str, str]:
        """After a try that may have been billed, SDKs must not repeat by themselves (S13)."""
        return {"x-should-retry": "false"} if self.outcome == "presumed" else {}


class UpstreamUnreachable(ProviderFailed):
    """No connection: nothing was sent, nothing is billed."""

    code = "upstream_unreachable"
    is_transient = True


class UpstreamCut(ProviderFailed):
    """The connection broke after the request was sent and before an answer began: it may have been billed."""

    code = "upstream_unreachable"
    is_transient = True
    outcome = "presumed"


class UpstreamTimeout(ProviderFailed):
    """The request was sent and no answer came in time: it may have been billed."""

    status = 504
    code = "upstream_timeout"
    is_transient = True
    outcome = "presumed"


class UpstreamError(ProviderFailed):
    """A complete 5xx answer: not billed."""

    is_transient = True


class UpstreamBadResponse(ProviderFailed):
    """A 2xx answer that is not what the API promises: it may have been billed."""

    code = "upstream_bad_response"
    outcome = "presumed"


class UpstreamAuth(ProviderFailed):
    """Our credential was refused; never passed on as 401 (B50)."""

    code = "upstream_auth"


class UpstreamRateLimited(ProviderFailed):
    """The upstream asks for a pause."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"

    @property
    def headers(self) -> dict[str, str]:
        """The upstream's own pause, rounded up to whole seconds."""
        return {} if self.retry_after_s is None else {"Retry-After": str(-int(-self.retry_after_s // 1))}


class UpstreamRefused(ProviderFailed):
    """The upstream says the request itself is wrong: its status and words reach the caller, nobody else is tried."""

    status = 400
    type = "invalid_request_error"
    code = "upstream_refused"
    falls_back = False


class UpstreamTooLong(UpstreamRefused):
    """The upstream says that the prompt is longer than its model takes."""

    code = "context_length_exceeded"
    fallback_cause = "context_length"


class UpstreamDeclined(UpstreamRefused):
    """The upstream's policy does not let it answer this prompt. Nothing was written, nothing is billed."""

    code = "content_filter"
    fallback_cause = "content_policy"


class SetAside(ProviderFailed):
    """The model was set aside between the decision and its turn: nothing was sent."""

    status = 503
    type = "api_error"
    code = "no_candidate"


class ProviderBroke(ProviderFailed):
    """A provider's own code raised what is not ours: what it did upstream before that is unknown."""

    status = 500
    type = "api_error"
    code = "plugin_error"
    outcome = "presumed"


class UpstreamBlocked(UpstreamDeclined):
    """The upstream's filter took offence at the prompt in an answer of its own: it may be billed for reading it."""

    outcome = "presumed"
