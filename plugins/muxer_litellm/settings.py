"""What can be set for a provider and for a sink of the kind `litellm`."""

from typing import Annotated

from msgspec import Meta, Struct, field

from muxer import ProviderSettings

# `file.instance`, as LiteLLM writes it; the file is beside routing.yaml or an installed module.
Instance = Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]

_INSTEAD = {
    "model": "write it as `name` of the model",
    "custom_llm_provider": "write it before the slash of the model's `name`",
    "api_key": "write it beside `params`",
    "api_base": "write `base_url` beside `params`",
    "base_url": "write it beside `params`",
    "api_version": "write it beside `params`",
    "headers": "write it beside `params`",
    "extra_headers": "write `headers` beside `params`",
    "timeout": "write `timeout_s` beside `params`",
    "request_timeout": "write `timeout_s` beside `params`",
    "stream_timeout": "write `first_byte_timeout_s` beside `params`",
    "max_tokens": "write `defaults.max_tokens`",
    "max_completion_tokens": "write `defaults.max_tokens`",
    "num_retries": "name `fallbacks` of the model",
    "max_retries": "name `fallbacks` of the model",
    "fallbacks": "name `fallbacks` of the model",
    "context_window_fallback_dict": "name `fallbacks` of the model",
    "drop_params": "write `strict_params` at the top of the file",
}
# What the request says, and what would take the call out of our hands: mocks, further calls, callbacks.
_NEVER = frozenset({
    "messages", "stream", "stream_options", "n", "tools", "tool_choice", "functions", "function_call", "acompletion",
    "model_list", "mock_response", "mock_tool_calls", "mock_timeout", "mock_delay", "cache", "caching", "callbacks",
    "success_callback", "failure_callback", "logger_fn", "litellm_logging_obj", "complete_response", "client",
})  # fmt: skip


class LiteLLMSettings(ProviderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`params` are passed to every call beside what a request may say; `handler` names a `CustomLLM` of one's own that
    answers instead of a vendor."""

    api_version: str | None = None
    params: dict[str, object] = field(default_factory=dict)
    handler: Instance | None = None

    def __post_init__(self) -> None:
        """Refuses, by ValueError, a parameter that has another place in the file or none."""
        for name in sorted(self.params):
            if name in _INSTEAD:
                raise ValueError(f"params.{name}: {_INSTEAD[name]}")
            if name in _NEVER:
                raise ValueError(f"params.{name}: cannot be set here")

    @property
    def priced_as(self) -> str:
        """Whose prices apply: LiteLLM's names say the vendor, a handler's names mean nothing outside of it."""
        return "litellm" if self.handler is None else ""


class LoggerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`logger` names a `CustomLogger` of one's own; `timeout_s` bounds what it does about one request."""

    logger: Instance
    # The core offers a batch again after 10 seconds.
    timeout_s: Annotated[
        float, Meta(gt=0, lt=10, description="what the logger may take for one request, in seconds")
    ] = 5.0
