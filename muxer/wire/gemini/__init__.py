"""Google's generateContent: requests to send, answers, streams and failures to read."""

from muxer.wire.gemini.abilities import Abilities
from muxer.wire.gemini.answer import read_answer
from muxer.wire.gemini.errors import raise_for_status
from muxer.wire.gemini.request import encode_request
from muxer.wire.gemini.stream import read_stream

__all__ = ["Abilities", "encode_request", "raise_for_status", "read_answer", "read_stream"]
