"""Everything that can go wrong, as one tree; the HTTP edge only reads `status`, `type` and `code`.

MuxerError
├── ConfigInvalid            the file or the environment, all faults at once
├── InvalidRequest           400: the caller must change the request
│   ├── InvalidJSON, InvalidUTF8, InvalidModel, InvalidMessages, InvalidTools, URLNotAllowed
│   ├── Unsupported, ParametersUnsupported, GuardRefused
│   ├── Unread               not looked into: broken HTTP, JSON of two meanings (refusals.py)
│   ├── ContextTooLong, ModelPriceUnknown, CostUnbounded
│   ├── IdempotencyKeyInvalid, IdempotencyMismatch (repeats.py)
│   └── NotFound, ModelNotFound, MethodNotAllowed, BodyTooLarge, UnsupportedMediaType, ...
├── InvalidAPIKey            401, KeyDisabled
├── AuthenticatorUnavailable 503: nobody can tell who calls
├── PermissionDenied         403
├── BudgetExceeded           402 (or `budget_status`)
├── RateLimited              429, ConcurrencyExceeded
├── IdempotencyInProgress    409, IdempotencyDone (repeats.py)
├── ClientGone               only in records: the caller left
├── ShuttingDown             503: the proxy ends before the answer does
├── NoCandidate              503: nobody is available
├── Overloaded               503: more than this process can serve
├── StoreUnavailable         503: budgets cannot be checked
├── ReloadRefused            422: the file as it is now cannot be used
├── PluginFailed             500
└── ProviderFailed           an upstream did not answer, or not as it should (failures.py)
    ├── UpstreamUnreachable, UpstreamTimeout, UpstreamError, UpstreamBadResponse
    ├── UpstreamAuth, UpstreamRateLimited, UpstreamRefused, UpstreamBlocked
    └── ProviderBroke
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace


class MuxerError(Exception):
    """The root. `message` says what is wrong, where, and what to do; it never holds a secret. `request_id` is set once
    a request has one. `is_suspicious`: the log tells a refusal as a matter of security; `closes`: nothing more is read
    from the connection it came over."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"
    is_suspicious: ClassVar[bool] = False
    closes: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.request_id = ""

    def reword(self, scrub: Callable[[str], str]) -> None:
        """Takes the secrets that somebody else's words quote out of the message (B51)."""
        self.message = scrub(self.message)
        self.args = (self.message,)

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that belong to this error."""
        return {}

    @property
    def details(self) -> dict[str, object]:
        """Further members of the error object."""
        return {}


class Fault(Struct, frozen=True):
    """One thing wrong in a configuration file; line and column count from 1, 0 when the place is not in a file."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        where = f"{self.path}: " if self.path else ""
        return f"{place}{where}{self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigInvalid(MuxerError):
    """The configuration cannot be used; `faults` lists every reason found, `warnings` what else should change."""

    code = "config_invalid"

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[Fault] = ()) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
        self.warnings = tuple(warnings)

    def reword(self, scrub: Callable[[str], str]) -> None:
        """See MuxerError."""
        super().reword(scrub)
        self.faults = tuple(replace(fault, message=scrub(fault.message)) for fault in self.faults)


class InvalidRequest(MuxerError):
    """The request has a value we do not take."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class InvalidJSON(InvalidRequest):
    """The body is not one JSON object."""

    code = "invalid_json"


class InvalidUTF8(InvalidRequest):
    """The body has bytes, or half of a surrogate pair, that are no text."""

    code = "invalid_utf8"


class InvalidModel(InvalidRequest):
    """`model` is not a name."""

    code = "invalid_model"


class InvalidMessages(InvalidRequest):
    """`messages` is missing or not a conversation."""

    code = "invalid_messages"


class InvalidTools(InvalidRequest):
    """`tools` cannot be offered to a model."""

    code = "invalid_tools"


class URLNotAllowed(InvalidRequest):
    """An image address that is neither https nor data; we never fetch it ourselves (B29)."""

    code = "url_not_allowed"
    is_suspicious = True


class Unsupported(InvalidRequest):
    """Something that no provider behind this proxy is asked for, such as audio."""

    code = "unsupported"


class ParametersUnsupported(InvalidRequest):
    """`strict_params` is set and the provider cannot take some fields of the request."""

    code = "unsupported_parameter"


class GuardRefused(InvalidRequest):
    """A guard does not let the request pass; the message is the guard's."""

    code = "guard_refused"


class ContextTooLong(InvalidRequest):
    """The prompt is longer than every candidate's context."""

    code = "context_length_exceeded"


class ModelPriceUnknown(InvalidRequest):
    """A hard budget applies and the model has no price (S19)."""

    code = "model_price_unknown"


class CostUnbounded(InvalidRequest):
    """A hard budget applies and the request has a part whose cost has no upper bound (S3)."""

    code = "cost_unbounded"


class NotFound(InvalidRequest):
    """Nothing is served at this address, or not to this caller."""

    status = 404
    code = "not_found"


class ModelNotFound(InvalidRequest):
    """No such model, or not for this caller: the same words for both (B25)."""

    status = 404
    code = "model_not_found"
    is_suspicious = True


class MethodNotAllowed(InvalidRequest):
    """The address is served, this method is not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self._allowed = ", ".join(sorted(allowed))

    @property
    def headers(self) -> dict[str, str]:
        """The `Allow` header."""
        return {"Allow": self._allowed}


class BodyTooLarge(InvalidRequest):
    """The body is over `server.max_body_bytes`."""

    status = 413
    code = "body_too_large"
    closes = True


class UnsupportedMediaType(InvalidRequest):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported_media_type"


class EncodingUnsupported(InvalidRequest):
    """The body is compressed; it is never unpacked (B8)."""

    status = 415
    code = "encoding_unsupported"
    is_suspicious = True


class InvalidAPIKey(MuxerError):
    """No key, or one that is not known."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    is_suspicious = True

    @property
    def headers(self) -> dict[str, str]:
        """The challenge HTTP asks for."""
        return {"WWW-Authenticate": "Bearer"}


class KeyDisabled(InvalidAPIKey):
    """The key is known and is revoked or has expired (B44)."""

    code = "key_disabled"


class AuthenticatorUnavailable(MuxerError):
    """Who could tell the caller cannot just now; nobody is let in meanwhile."""

    status = 503
    code = "authenticator_unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """Worth another try soon."""
        return {"Retry-After": "5"}


class PermissionDenied(MuxerError):
    """The key is known and may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"
    is_suspicious = True


class BudgetExceeded(MuxerError):
    """A budget has no room for this request; `budget` has the numbers (I5)."""

    status = 402
    type = "insufficient_quota"
    code = "budget_exceeded"

    def __init__(self, message: str, budget: Mapping[str, object]) -> None:
        super().__init__(message)
        self._budget = dict(budget)

    @property
    def headers(self) -> dict[str, str]:
        """Tells SDKs that trying again is pointless."""
        return {"x-should-retry": "false"}

    @property
    def details(self) -> dict[str, object]:
        """Which limit, what is spent, held, presumed and asked, and when it resets."""
        return {"budget": self._budget}


class BudgetExceededAsRate(BudgetExceeded):
    """The same refusal under `budget_status: 429`."""

    status = 429


class ClientGone(MuxerError):
    """The caller left before its answer was over. Nobody reads this error; its record does (499 as nginx has it)."""

    status = 499
    code = "client_gone"


class ShuttingDown(MuxerError):
    """The proxy stops and the grace period is over."""

    status = 503
    code = "shutting_down"
    closes = True

    @property
    def headers(self) -> dict[str, str]:
        """Another replica answers, or this one once it is back."""
        return {"Retry-After": "1"}


class RateLimited(MuxerError):
    """Too many requests or tokens for now."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, retry_after_s: float, left: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self._left = left or {}

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, in whole seconds and in milliseconds (which SDKs prefer), and what is left of the rate."""
        milliseconds = max(1, -int(-self.retry_after_s * 1000 // 1))
        return {"Retry-After": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds), **self._left}


class ConcurrencyExceeded(RateLimited):
    """Too many requests at once."""

    code = "concurrency_limit_exceeded"


class NoCandidate(MuxerError):
    """Every model that could serve this is unavailable; the message names each and why."""

    status = 503
    code = "no_candidate"


class Overloaded(MuxerError):
    """More than this process can serve, of what `reason` says (muxer_shed_total); nothing was read or held."""

    status = 503
    code = "overloaded"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def headers(self) -> dict[str, str]:
        """Worth another try soon, at another process or this one."""
        return {"Retry-After": "1"}


class StoreUnavailable(MuxerError):
    """Budgets or keys cannot be checked, so nothing is sent (S18)."""

    status = 503
    code = "budget_store_unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """Worth another try soon."""
        return {"Retry-After": "1"}


class ReloadRefused(MuxerError):
    """The file as it is now cannot be used; what ran before goes on."""

    status = 422
    type = "invalid_request_error"
    code = "config_refused"


class PluginFailed(MuxerError):
    """A plugin's object raised something that is not ours."""

    code = "plugin_error"
