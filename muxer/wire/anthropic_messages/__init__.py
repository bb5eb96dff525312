"""Anthropic's Messages API: requests to send, answers and streams to read."""

from muxer.wire.anthropic_messages.answer import read_answer
from muxer.wire.anthropic_messages.blocks import API
from muxer.wire.anthropic_messages.request import encode_request
from muxer.wire.anthropic_messages.stream import read_stream

__all__ = ["API", "encode_request", "read_answer", "read_stream"]
