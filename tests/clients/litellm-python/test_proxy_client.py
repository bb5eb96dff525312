"""The client that LiteLLM ships for its own proxy, and its own types for what comes back."""

import json
from collections.abc import Iterator

import openai
import pytest
import requests
from litellm.models.spend_logs import LiteLLM_SpendLogs
from litellm.models.verification_token import LiteLLM_VerificationToken
from litellm.proxy.client import Client, UnauthorizedError

HELLO = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def admin(url: str) -> Client:
    return Client(base_url=url.removesuffix("/v1"), api_key="sk-root")


@pytest.fixture
def key(admin: Client) -> Iterator[dict[str, object]]:
    """A key, made and deleted as LiteLLM's client does it."""
    key = admin.keys.generate(models=["gpt-terra"], aliases={}, duration="24h", user_id="carol", team_id="build")
    yield key
    assert admin.keys.delete(keys=[key["token"]]) == {"deleted_keys": [key["token"]]}


def test_a_key_is_made_and_described(admin: Client, key: dict[str, object]) -> None:
    found = admin.keys.info(key=key["token"])["info"]
    row = LiteLLM_VerificationToken.model_validate(found, extra="ignore")
    assert (row.user_id, row.team_id, row.models) == ("carol", "build", ["gpt-terra"])
    assert row.expires == key["expires"]


def test_what_was_spent_is_in_the_headers_the_logs_and_the_key(url: str, admin: Client, key: dict[str, object]) -> None:
    with openai.OpenAI(base_url=url, api_key=key["key"]) as client:
        answer = client.chat.completions.with_raw_response.create(model="gpt-terra", messages=HELLO)
    cost = float(answer.headers["x-litellm-response-cost"])
    asked = {"request_id": answer.headers["x-litellm-call-id"]}
    address = f"{url.removesuffix('/v1')}/spend/logs"
    (found,) = requests.get(address, params=asked, headers={"Authorization": "Bearer sk-root"}, timeout=20).json()
    # Its type is the row of the database, where these two are JSON in a text.
    row = LiteLLM_SpendLogs.model_validate(
        found | {name: json.dumps(found[name]) for name in ("metadata", "request_tags")}
    )
    assert (row.api_key, row.user, row.total_tokens) == (key["token"], "carol", answer.parse().usage.total_tokens)
    assert row.spend == admin.keys.info(key=key["token"])["info"]["spend"] == cost > 0


def test_a_deleted_key_is_refused(url: str, admin: Client) -> None:
    key = admin.keys.generate()
    admin.keys.delete(keys=[key["key"]])
    with pytest.raises(UnauthorizedError):
        Client(base_url=url.removesuffix("/v1"), api_key=key["key"]).keys.info(key=key["key"])
