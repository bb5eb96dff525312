"""Whole answers as the Responses API writes them."""

from collections.abc import Iterator, Mapping, Sequence

from muxer.inbound import Inbound
from muxer.types import Answer, Choice, TokenLogprob, Usage
from muxer.wire.carried import packed
from muxer.wire.openai_chat import decode_fields, encode

# What an answer repeats of its request, and what it says where the request is silent.
_ECHOED: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
# OpenAI's codes of errors in an answer; all else is its server's.
_ERROR_CODES = {
    "rate_limit_exceeded": "rate_limit_exceeded",
    "upstream_rate_limited": "rate_limit_exceeded",
    "content_filter": "invalid_prompt",
    "guard_refused": "invalid_prompt",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Writer:
    """Writes the response object and the items of one answer."""

    def __init__(self, id: str, created: int, model: str, inbound: Inbound) -> None:
        self._id = id.removeprefix("req_")
        self._head = {"id": f"resp_{self._id}", "object": "response", "created_at": created, "model": model}
        asked = {name: value for name, value in decode_fields(inbound.raw).items() if bytes(value) != b"null"}
        self._echo = {name: asked.get(name, silent) for name, silent in _ECHOED.items()}

    def response(self, status: str, output: Sequence[object] = (), **fields: object) -> dict[str, object]:
        """The object; nothing is stored."""
        nothing = {"error": None, "incomplete_details": None, "usage": None, "previous_response_id": None}
        return {
            **self._head,
            "status": status,
            **nothing,
            **self._echo,
            "background": False,
            "store": False,
            "output": output,
            **fields,
        }

    def ended(
        self,
        finish_reason: str,
        output: Sequence[object],
        usage: Usage | None,
        metadata: Mapping[str, object],
    ) -> dict[str, object]:
        """The object of an answer that is over."""
        reason = _INCOMPLETE.get(finish_reason)
        details = {"reason": reason} if reason else None
        ours = {"router_metadata": metadata} if metadata else {}
        fields = usage_fields(usage) if usage else None
        status = "incomplete" if reason else "completed"
        return self.response(status, output, incomplete_details=details, usage=fields, **ours)

    def failed(self, error: Mapping[str, object], output: Sequence[object]) -> dict[str, object]:
        """The object of an answer that broke off: `error` is OpenAI's error object."""
        code = _ERROR_CODES.get(str(error["code"]), "server_error")
        return self.response("failed", output, error={"code": code, "message": error["message"]})

    def item_id(self, kind: str, number: int) -> str:
        """The id of an item of the output."""
        return f"{kind}_{self._id}_{number}"

    def message(
        self, number: int, text: str | None, status: str, logprobs: Sequence[TokenLogprob] = ()
    ) -> dict[str, object]:
        """What the model says; None before it has begun."""
        content = [] if text is None else [text_part(text, logprobs)]
        id = self.item_id("msg", number)
        return {"type": "message", "id": id, "status": status, "role": "assistant", "content": content}

    def call(self, number: int, call_id: str, name: str, arguments: str, status: str) -> dict[str, object]:
        """A tool call."""
        id = self.item_id("fc", number)
        said = {"call_id": call_id, "name": name, "arguments": arguments}
        return {"type": "function_call", "id": id, "status": status, **said}

    def reasoning(self, number: int, text: str, sealed: str = "") -> dict[str, object]:
        """The model's thoughts, and what its vendor wants back with the call after them."""
        summary = [{"type": "summary_text", "text": text}] if text else []
        item: dict[str, object] = {"type": "reasoning", "id": self.item_id("rs", number), "summary": summary}
        return {**item, "encrypted_content": sealed} if sealed else item


def text_part(text: str, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, object]:
    """A text of the answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprob_fields(logprobs)}


def logprob_fields(tokens: Sequence[TokenLogprob]) -> list[dict[str, object]]:
    """Log-probabilities as OpenAI has them."""
    return [{**_logprob(token), "top_logprobs": [_logprob(one) for one in token.top]} for token in tokens]


def _logprob(token: TokenLogprob) -> dict[str, object]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.token.encode())}


def usage_fields(usage: Usage) -> dict[str, object]:
    """Our usage as the Responses API's."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def encode_answer(answer: Answer, writer: Writer, metadata: Mapping[str, object]) -> bytes:
    """The body of a whole answer, with `router_metadata` added."""
    choice = answer.choices[0]
    return encode(writer.ended(choice.finish_reason, list(_items(choice, writer)), answer.usage, metadata))


def _items(choice: Choice, writer: Writer) -> Iterator[dict[str, object]]:
    number = 0
    if choice.reasoning:
        yield writer.reasoning(number, choice.reasoning)
        number += 1
    if choice.text:
        yield writer.message(number, choice.text, "completed", choice.logprobs)
        number += 1
    for call in choice.tool_calls:
        id = call.id or writer.item_id("call", number)
        sealed = packed(id, call.extra_content)
        if sealed:
            yield writer.reasoning(number, "", sealed)
            number += 1
        yield writer.call(number, id, call.function.name, call.function.arguments, "completed")
        number += 1
