"""The tools a caller allows, for vendors that have no word for `allowed_tools`."""

from msgspec.structs import replace

from muxer.errors import InvalidTools
from muxer.types import ChatRequest, ToolChoice


def narrowed(request: ChatRequest) -> ChatRequest:
    """The request that offers only what its `tool_choice` allows, with that choice's mode in its place.

    Raises InvalidTools when nothing that is offered is allowed.
    """
    choice = request.tool_choice
    if not isinstance(choice, ToolChoice) or choice.allowed_tools is None:
        return request
    names = {one.function.name for one in choice.allowed_tools.tools if one.function}
    tools = tuple(tool for tool in request.tools or () if tool.function and tool.function.name in names)
    if not tools:
        raise InvalidTools("tool_choice.allowed_tools: none of them is among the tools", param="tool_choice")
    return replace(request, tools=tools, tool_choice=choice.allowed_tools.mode)
