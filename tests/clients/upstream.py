"""A vendor for the clients' proxy, as a process of its own: it calls tools, keeps to schemas and fails when asked to.

The proxy's environment runs it (`muxer.testing` is not in the clients'). It prints its address and serves until its
standard input ends.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator

import msgspec

from muxer import FunctionCall, ToolCall
from muxer.testing import Act, Asked, Fail, Say, ScriptedUpstream
from muxer.testing.calls import texts

FAILURE = re.compile(r"fail with (\d{3})")


class Helpful(msgspec.Struct, frozen=True):
    """Answers as a model would that does what it is told: the tool that is offered, once; the schema; else words."""

    def play(self, asked: Asked) -> Act:
        """Answers by what was asked."""
        told = FAILURE.search(asked.question)
        if told:
            return Fail(int(told[1]), {"Retry-After": "0"}).play(asked)
        tool = _tool(asked)
        if tool is not None:
            arguments = msgspec.json.encode(example(tool[1])).decode()
            call = ToolCall(id=f"call_{asked.number}", function=FunctionCall(name=tool[0], arguments=arguments))
            return Say(tool_calls=(call,)).play(asked)
        schema = _schema(asked.body)
        return Say(text=None if schema is None else msgspec.json.encode(example(schema)).decode()).play(asked)


def _tool(asked: Asked) -> tuple[str, object] | None:
    """The tool to call now, by name and parameters: none after a result, unless the caller insists."""
    offered = dict(_offered(asked.body.get("tools")))
    choice = asked.body.get("tool_choice")
    insisted = "none"
    if isinstance(choice, str):
        insisted = choice
    elif isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if isinstance(name, str):
            return name, offered.get(name)
        insisted = str(choice.get("type"))
    elif choice is None:
        insisted = "auto"
    if insisted == "none" or (insisted == "auto" and _is_after_a_result(asked.body.get("messages"))):
        return None
    return next(iter(offered.items()), None)


def _offered(tools: object) -> Iterator[tuple[str, object]]:
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool)
        yield str(function.get("name")), function.get("parameters", function.get("input_schema"))


def _is_after_a_result(messages: object) -> bool:
    if not isinstance(messages, list) or not messages:
        return False
    last = messages[-1]
    content = last.get("content")
    blocks = content if isinstance(content, list) else []
    return last.get("role") == "tool" or any(block.get("type") == "tool_result" for block in blocks)


def _schema(body: dict[str, object]) -> object | None:
    """The schema of the answer, in OpenAI's or Anthropic's words; an empty one where any JSON will do."""
    output = body.get("output_config")
    if isinstance(output, dict) and isinstance(output.get("format"), dict):
        return output["format"].get("schema")
    form = body.get("response_format")
    inner = form.get("json_schema") if isinstance(form, dict) else None
    if isinstance(inner, dict):
        return inner.get("schema")
    said = "\n".join([*texts(body.get("system")), *texts(body.get("messages"))])
    return next(_schemas(said), {} if isinstance(form, dict) and form.get("type") == "json_object" else None)


def _schemas(text: str) -> Iterator[object]:
    """The schemas written down in a prompt."""
    for found in re.finditer("{", text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, found.start())
        except ValueError:
            continue
        if "properties" in value:
            yield value


def example(schema: object, root: object = None) -> object:
    """The least value that a JSON schema allows, bounds aside."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return None
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = root
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        return example(found, root)
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return example(schema["anyOf"][0], root)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "object")
    if kind != "object":
        return {"string": "demo", "integer": 0, "number": 0, "boolean": False, "array": []}.get(str(kind))
    properties = schema.get("properties") or {}
    return {name: example(properties.get(name), root) for name in schema.get("required") or ()}


async def main() -> None:
    """Serves until nobody holds the other end of standard input."""
    async with ScriptedUpstream(default=Helpful()) as upstream:
        print(upstream.url, flush=True)  # noqa: T201  # the parent reads it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
