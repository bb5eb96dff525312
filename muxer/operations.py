"""What the OpenAPI document says of each of the core's routes."""

from collections.abc import Mapping

from muxer import shapes
from muxer.feedback import Score
from muxer.interfaces import Operation
from muxer.keys import NewKey
from muxer.types import ChatRequest
from muxer.wire.anthropic_inbound.body import MessagesBody
from muxer.wire.openai_embeddings import EmbeddingBody
from muxer.wire.openai_text_inbound import TextBody
from muxer.wire.responses_inbound.body import ResponsesBody

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        summary="Answers a chat", body=ChatRequest, answer=shapes.ChatCompletion, streams=True
    ),
    ("POST", "/v1/completions"): Operation(
        summary="Goes on with a text", body=TextBody, answer=shapes.TextCompletion, streams=True
    ),
    ("POST", "/v1/embeddings"): Operation(
        summary="Turns texts into vectors", body=EmbeddingBody, answer=shapes.EmbeddingList
    ),
    ("POST", "/v1/messages"): Operation(
        summary="Answers a conversation in Anthropic's format",
        body=MessagesBody,
        answer=shapes.AnthropicMessage,
        error=shapes.MessagesError,
        streams=True,
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        summary="About how many tokens such a request has",
        body=MessagesBody,
        answer=shapes.TokenCount,
        error=shapes.MessagesError,
    ),
    ("POST", "/v1/responses"): Operation(
        summary="Answers in the format of OpenAI's Responses API",
        body=ResponsesBody,
        answer=shapes.Response,
        streams=True,
    ),
    ("POST", "/v1/route"): Operation(
        summary="How a chat would be decided, and why",
        body=ChatRequest,
        answer=shapes.Explained,
    ),
    ("GET", "/v1/models"): Operation(summary="What this key may name", answer=shapes.ModelList),
    ("GET", "/v1/models/{name:.+}"): Operation(summary="One model, group or auto", answer=shapes.ListedModel),
    ("GET", "/v1/requests/{id}"): Operation(summary="The record of a request", answer=shapes.RecordShown),
    ("POST", "/v1/feedback"): Operation(summary="How good an answer was", body=Score, answer=Score),
    ("GET", "/user/stats"): Operation(summary="The caller's spend and limits", answer=shapes.UserStats),
    ("GET", "/stats"): Operation(
        summary="Everybody's spend for viewers and admins, else the caller's", answer=shapes.Spend
    ),
    ("GET", "/providers"): Operation(summary="Who can be asked, at which price", answer=shapes.ProviderList),
    ("POST", "/admin/keys"): Operation(summary="Makes a key", body=NewKey, answer=shapes.KeyMade, status=201),
    ("GET", "/admin/keys"): Operation(summary="All keys of the store", answer=shapes.KeyList),
    ("DELETE", "/admin/keys/{id}"): Operation(summary="Revokes a key", answer=shapes.KeyShown),
    ("POST", "/admin/reload"): Operation(summary="Takes over the file as it is now", answer=shapes.Reloaded),
    ("GET", "/health"): Operation(summary="The state of each component", answer=shapes.Health),
    ("GET", "/livez"): Operation(summary="Whether the process runs", answer=shapes.Alive),
    ("GET", "/readyz"): Operation(summary="Whether requests can be served", answer=shapes.Ready, also=(503,)),
    ("GET", "/openapi.json"): Operation(summary="This document", answer=dict),
    ("GET", "/docs"): Operation(summary="This document to read", answer=str, media_type="text/html"),
}
"""By method and path, as the router has them."""
