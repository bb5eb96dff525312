"""OpenAI's Responses API, the caller's side and without state: requests to read, answers and streams to write."""

from collections.abc import Mapping

from muxer.inbound import Inbound
from muxer.types import Answer
from muxer.wire.openai_chat import encode
from muxer.wire.responses_inbound.answer import Writer, encode_answer
from muxer.wire.responses_inbound.request import API, read
from muxer.wire.responses_inbound.stream import EventWriter


class Responses:
    """See InboundFormat."""

    api = API

    def read(self, body: bytes) -> Inbound:
        """See InboundFormat."""
        return read(body)

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """See InboundFormat."""
        return encode_answer(answer, Writer(id, created, str(metadata["selected_model"]), inbound), metadata)

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> EventWriter:
        """See InboundFormat."""
        return EventWriter(Writer(id, created, model, inbound))

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """See InboundFormat."""
        return encode({"error": error})


RESPONSES = Responses()
