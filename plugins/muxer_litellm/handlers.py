"""A `CustomLLM` of one's own: registered with LiteLLM under a name of its own, its missing methods made up for."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from muxer import ConfigInvalid, Fault
from muxer_litellm.library import Library


@contextmanager
def registered(instance: object, name: str, library: Library) -> Iterator[str]:
    """The vendor's name under which LiteLLM finds the instance, as long as the context is open.

    No two components share one: at a reload the old and the new serve side by side.
    """
    litellm = library.litellm
    if not isinstance(instance, litellm.CustomLLM):
        raise ConfigInvalid([Fault(f"{name} is no instance of CustomLLM", hint="name an instance, not a class")])
    # LiteLLM asks whether what is registered is a CustomLLM, and this module must not need it to be imported.
    handler: Any = type("Registered", (Handler, litellm.CustomLLM), {})(instance, litellm.CustomLLM)
    vendor = f"{name}-{id(handler):x}"
    entry = {"provider": vendor, "custom_handler": handler}
    litellm.custom_provider_map.append(entry)
    litellm.utils.custom_llm_setup()
    try:
        yield vendor
    finally:
        litellm.custom_provider_map.remove(entry)
        litellm.provider_list.remove(vendor)
        litellm._custom_providers.remove(vendor)


class Handler:
    """Calls the methods an instance has, the synchronous ones in a thread; LiteLLM knows it by their names.

    Without any method that streams, a stream is the whole answer in a few chunks.
    """

    def __init__(self, instance: Any, base: Any) -> None:
        self._instance = instance
        self._base = base

    def _has(self, method: str) -> bool:
        return getattr(type(self._instance), method) is not getattr(self._base, method)

    async def acompletion(self, **arguments: Any) -> Any:
        """See CustomLLM."""
        if self._has("acompletion") or not self._has("completion"):
            return await self._instance.acompletion(**arguments)
        return await asyncio.to_thread(self._instance.completion, **arguments)

    async def astreaming(self, **arguments: Any) -> AsyncGenerator[Any, None]:
        """See CustomLLM."""
        if self._has("astreaming"):
            async for chunk in self._instance.astreaming(**arguments):
                yield chunk
        elif self._has("streaming"):
            iterator = iter(await asyncio.to_thread(self._instance.streaming, **arguments))
            end = object()
            try:
                while (chunk := await asyncio.to_thread(next, iterator, end)) is not end:
                    yield chunk
            finally:
                with suppress(AttributeError, ValueError):  # not every iterator closes, nor while its thread still runs
                    iterator.close()
        else:
            options = {
                key: value for key, value in arguments["optional_params"].items() if not key.startswith("stream")
            }
            response = await self.acompletion(**{**arguments, "optional_params": options})
            for chunk in _as_chunks(response):
                yield chunk


def _as_chunks(response: Any) -> Iterator[dict[str, object]]:
    """A whole answer as the chunks of a stream, in LiteLLM's GenericStreamingChunk."""
    choice = response.choices[0]
    for index, call in enumerate(choice.message.tool_calls or ()):
        function = {"name": call.function.name, "arguments": call.function.arguments}
        yield _chunk(tool_use={"id": call.id, "type": "function", "function": function, "index": index})
    if choice.message.content:
        yield _chunk(text=choice.message.content)
    usage = getattr(response, "usage", None)
    counts = usage.model_dump() if usage is not None and usage.total_tokens else None
    yield _chunk(is_finished=True, finish_reason=choice.finish_reason or "stop", usage=counts)


def _chunk(**changes: object) -> dict[str, object]:
    bare: dict[str, object] = {"text": "", "tool_use": None, "is_finished": False, "finish_reason": "", "usage": None}
    return {**bare, "index": 0, **changes}
