"""What a format is in which callers ask: how its requests are read, and how answers, streams and errors are written."""

from collections.abc import Mapping
from typing import Protocol

from muxer.inbound import Inbound
from muxer.types import Answer, Chunk


class StreamWriter(Protocol):
    """Writes one streamed answer as the bytes of its events."""

    def write(self, chunk: Chunk, metadata: Mapping[str, object]) -> bytes:
        """The events of one chunk, possibly none; `metadata` is ours to add where the usage stands."""

    def end(self) -> bytes:
        """What comes last when all went well."""

    def error(self, error: Mapping[str, object]) -> bytes:
        """What comes last when it did not: `error` is OpenAI's error object."""


class InboundFormat(Protocol):
    """A format of requests and answers. `api` names it in records, and to providers that speak it themselves."""

    @property
    def api(self) -> str:
        """The name."""

    def read(self, body: bytes) -> Inbound:
        """The request and what it says in canonical form, checked. Raises InvalidRequest, which names the field."""

    def answer(self, answer: Answer, id: str, created: int, metadata: Mapping[str, object], inbound: Inbound) -> bytes:
        """The body of a whole answer to that request."""

    def stream(self, id: str, created: int, model: str, inbound: Inbound) -> StreamWriter:
        """A writer for one answer of that model, streamed to that request."""

    def error(self, error: Mapping[str, object], request_id: str) -> bytes:
        """The body of an answer that is an error: `error` is OpenAI's error object, the id empty before there is
        one."""
