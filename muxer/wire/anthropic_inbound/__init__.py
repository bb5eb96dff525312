"""Anthropic's Messages API, the caller's side: requests to read and check, answers, streams and errors to write."""

from collections.abc import Mapping

from muxer.inbound import Inbound
from muxer.types import Answer
from muxer.wire.anthropic_inbound.answer import encode_answer, encode_error
from muxer.wire.anthropic_inbound.request import read
from muxer.wire.anthropic_inbound.stream import EventWriter
from muxer.wire.anthropic_messages import API

__all__ = ["MESSAGES", "read"]


class Messages:
    """See InboundFormat."""

    api = API

    def read(self, body: bytes) -> Inbound:
        """See InboundFormat."""
        return read(body)

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """See InboundFormat."""
        return encode_answer(answer, id, metadata)

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> EventWriter:
        """See InboundFormat."""
        return EventWriter(id, model)

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """See InboundFormat."""
        return encode_error(error, request_id)


MESSAGES = Messages()
