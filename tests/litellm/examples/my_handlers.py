"""Handlers as LiteLLM's documentation has people write them; each keeps what it was called with."""

import time

import litellm
from litellm import CustomLLM
from litellm.llms.custom_llm import CustomLLMError

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Paris"}'}}
KEPT = ("model", "messages", "api_base", "api_key", "optional_params", "headers", "acompletion", "custom_prompt_dict")


def piece(text="", **changes):
    bare = {"text": text, "tool_use": None, "is_finished": False, "finish_reason": "", "usage": None, "index": 0}
    return {**bare, **changes}


class Whole(CustomLLM):
    def __init__(self):
        super().__init__()
        self.calls = []

    def _answer(self, model, message, finish_reason):
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
        return litellm.ModelResponse(model=model, created=1, choices=[choice], usage=litellm.Usage(**USAGE))

    def _keep(self, arguments):
        self.calls.append({name: arguments[name] for name in KEPT})

    async def acompletion(self, **arguments):
        self._keep(arguments)
        return self._answer(arguments["model"], {"content": f"Said {arguments['messages'][-1]['content']}"}, "stop")

    async def astreaming(self, **arguments):
        self._keep(arguments)
        for word in ("Said ", "it ", "slowly"):
            yield piece(word)
        yield piece(is_finished=True, finish_reason="stop", usage=USAGE)


class Tools(Whole):
    async def acompletion(self, **arguments):
        self._keep(arguments)
        return self._answer(arguments["model"], {"content": None, "tool_calls": [TOOL]}, "tool_calls")

    async def astreaming(self, **arguments):
        self._keep(arguments)
        yield piece(tool_use={**TOOL, "index": 0})
        yield piece(is_finished=True, finish_reason="tool_calls", usage=USAGE)


class Mocked(CustomLLM):
    """The first example of LiteLLM's page on custom providers."""

    def completion(self, *args, **kwargs):
        return litellm.completion(
            model="gpt-3.5-turbo", messages=[{"role": "user", "content": "Hello world"}], mock_response="Hi!"
        )

    async def acompletion(self, *args, **kwargs):
        return litellm.completion(
            model="gpt-3.5-turbo", messages=[{"role": "user", "content": "Hello world"}], mock_response="Hi!"
        )


class Unfinished(Whole):
    """Never says that it is finished."""

    async def astreaming(self, **arguments):
        self._keep(arguments)
        for word in ("no ", "end"):
            yield piece(word)


class Synchronous(Whole):
    acompletion = CustomLLM.acompletion
    astreaming = CustomLLM.astreaming

    def completion(self, **arguments):
        self._keep(arguments)
        time.sleep(0.01)
        return self._answer(arguments["model"], {"content": "in a thread"}, "stop")

    def streaming(self, **arguments):
        self._keep(arguments)
        yield piece("in a ")
        yield piece("thread")
        yield piece(is_finished=True, finish_reason="stop", usage=USAGE)


class WholeOnly(Whole):
    astreaming = CustomLLM.astreaming


class Failing(CustomLLM):
    def __init__(self, status):
        super().__init__()
        self.status = status

    async def acompletion(self, **arguments):
        raise CustomLLMError(status_code=self.status, message="no luck today")

    async def astreaming(self, **arguments):
        raise CustomLLMError(status_code=self.status, message="no luck today")
        yield


class Broken(CustomLLM):
    async def acompletion(self, **arguments):
        raise KeyError("sk-secret in the message")


whole, tools, mocked, unfinished = Whole(), Tools(), Mocked(), Unfinished()
synchronous, whole_only, broken = Synchronous(), WholeOnly(), Broken()
failing_400, failing_401, failing_429, failing_500, failing_503 = map(Failing, (400, 401, 429, 500, 503))
not_a_handler = object()
