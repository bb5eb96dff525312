"""The authenticator `jwt`: which tokens hold, and who they are."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from muxer_jwt import JwtSettings, open_jwt

from muxer import Authenticator, Caller, ConfigInvalid, InvalidAPIKey
from muxer.testing import AuthenticatorContract, open_context
from tests.proxy import OpenProxy

SECRET = "a secret of more than sixty-four bytes, so that each HS algorithm takes it"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
START = datetime(2026, 1, 1, tzinfo=UTC)
WHERE: dict[str, Any] = {"audience": "muxer", "issuer": "https://id.example"}


def claims(**changes: Any) -> dict[str, Any]:
    found = {"sub": "carol", "aud": "muxer", "iss": "https://id.example", "exp": time.time() + 86_400, **changes}
    return {name: value for name, value in found.items() if value is not None}


def bearer(key: Any = SECRET, algorithm: str = "HS256", kid: str = "", **changes: Any) -> dict[str, str]:
    token = jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Authenticator]:
    async with open_context(folder) as context, open_jwt(JwtSettings(**{**WHERE, **settings}), context) as one:
        yield one


class TestJwt(AuthenticatorContract):
    def open(self, folder: Path) -> AbstractAsyncContextManager[Authenticator]:
        return opened(folder, secret=SECRET)

    def good(self) -> tuple[Mapping[str, str], Caller]:
        return bearer(), Caller(key="jwt:https://id.example", user="carol")

    def bad(self) -> Mapping[str, str]:
        return bearer(key="another secret of more than sixty-four bytes, which nobody was told of")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (bearer(exp=time.time() - 3600), "it has expired"),
        (bearer(exp=None), "a claim is missing"),
        (bearer(nbf=time.time() + 3600), "not valid yet"),
        (bearer(aud="others"), "another audience"),
        (bearer(aud=None), "a claim is missing"),
        (bearer(iss="https://evil.example"), "another issuer"),
        (bearer(sub=None), "a claim is missing"),
        (bearer(sub=""), "'sub' is not a text"),
        (bearer(algorithm="HS512"), "an algorithm that is not accepted"),
        (bearer(key=KEY, algorithm="RS256"), "an algorithm that is not accepted"),
        (bearer(key="", algorithm="none"), "an algorithm that is not accepted"),
        ({"Authorization": "Bearer eyJ.eyJ.x"}, "it is not valid here"),
    ],
    ids=range(12),
)
async def test_a_token_that_does_not_hold_is_refused_with_the_reason(
    tmp_path: Path, headers: dict[str, str], reason: str
) -> None:
    async with opened(tmp_path, secret=SECRET) as authenticator:
        with pytest.raises(InvalidAPIKey, match=reason):
            await authenticator.caller(headers)


async def test_claims_say_who_calls_and_an_unknown_role_is_none(tmp_path: Path) -> None:
    named: dict[str, Any] = {
        "user_claim": "email",
        "team_claim": "org",
        "tags_claim": "tags",
        "models_claim": "models",
        "role_claim": "scope",
    }
    told: dict[str, Any] = {
        "email": "c@x.example",
        "org": "research",
        "tags": ["a", "b"],
        "models": ["gpt-*"],
        "scope": "openid viewer",
    }
    async with opened(tmp_path, secret=SECRET, **named) as authenticator:
        found = await authenticator.caller(bearer(**told))
        plain = await authenticator.caller(bearer(email="c@x.example", scope="root"))
    expected = Caller(
        key="jwt:https://id.example",
        user="c@x.example",
        team="research",
        tags=("a", "b"),
        models=("gpt-*",),
        role="viewer",
    )
    assert found == expected and plain is not None and plain.role == "user" and not plain.team


async def test_a_public_key_verifies_and_never_becomes_a_secret(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text(PEM)
    async with opened(tmp_path, public_key_file="public.pem") as authenticator:
        assert await authenticator.caller(bearer(key=KEY, algorithm="RS256")) is not None
        # The public key as the secret of an HS256 token: the classic forgery (RFC 8725, 2.1).
        head, body = (
            base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256"}, claims())
        )
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
            head + b"." + body, PEM.encode()
        )
        forged = b".".join([head, body, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
        with pytest.raises(InvalidAPIKey, match="an algorithm that is not accepted"):
            await authenticator.caller({"Authorization": f"Bearer {forged}"})


async def test_a_key_file_that_is_missing_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"authenticators\.public_key_file: 'absent\.pem' cannot be read"):
        async with opened(tmp_path, public_key_file="absent.pem"):
            pass


@pytest.mark.parametrize(
    ("content", "algorithms", "reason"),
    [
        (b"hello", (), "holds no public key"),
        (b"\x00\xff\xfe", (), "holds no public key"),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), (), "holds no public key"),
        (PEM.encode().replace(b"A", b""), (), "holds no public key"),
        (PEM.encode(), ("ES256",), "fits none of ES256"),
    ],
    ids=range(5),
)
async def test_a_key_file_that_could_verify_nothing_is_a_fault_at_the_start(
    tmp_path: Path, content: bytes, algorithms: tuple[Any, ...], reason: str
) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=reason):
        async with opened(tmp_path, public_key_file="key.pem", algorithms=algorithms):
            pass


async def test_a_certificate_verifies_as_its_key_does(tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "id.example")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, START, START + timedelta(days=1))
    (tmp_path / "cert.pem").write_bytes(builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM))
    async with opened(tmp_path, public_key_file="cert.pem") as authenticator:
        assert await authenticator.caller(bearer(key=KEY, algorithm="RS256")) is not None


HEADERS = [b'{"a":' + b"[" * 2_500 + b"]" * 2_500 + b"}", b'{"alg":{}}', b'{"alg":"HS256","crit":5}', b'{"a":"\xff"}']


async def test_nobody_shuts_the_others_out_by_tokens_that_cannot_be_read(proxy: OpenProxy) -> None:
    section = f'[{{kind: jwt, audience: muxer, issuer: "https://id.example", secret: "{SECRET}"}}]'
    running = await proxy(plugins="[openai, sqlite, jwt]", authenticators=section)
    odd = [base64.urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.x" for header in HEADERS]
    for token in [*odd, "eyJ\udcff.e30.x", "eyJ\u00e9.e30.x"] * 2:
        async with running.client.get("/v1/models", headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == 401
    async with running.client.get("/v1/models", headers=bearer()) as response:
        assert response.status == 200


@pytest.mark.parametrize("models", [[], "", " "])
async def test_a_token_that_allows_no_model_does_not_allow_all(tmp_path: Path, models: Any) -> None:
    async with opened(tmp_path, secret=SECRET, models_claim="models") as authenticator:
        with pytest.raises(InvalidAPIKey, match="'models' allows no model"):
            await authenticator.caller(bearer(models=models))


@pytest.mark.parametrize("user", ["a\nb", "a\0", "x" * 257])
async def test_a_user_is_a_short_text_that_can_be_printed(tmp_path: Path, user: str) -> None:
    async with opened(tmp_path, secret=SECRET) as authenticator:
        with pytest.raises(InvalidAPIKey, match="'sub' is too long or cannot be printed"):
            await authenticator.caller(bearer(sub=user))


async def test_keys_of_an_identity_provider_are_fetched_by_their_id(tmp_path: Path) -> None:
    numbers = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())) | {
        "kid": "one",
        "use": "sig",
        "alg": "RS256",
    }
    asked: list[str] = []

    async def keys(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"keys": [numbers]})

    application = web.Application()
    application.router.add_get("/keys", keys)
    async with TestServer(application) as server, opened(tmp_path, jwks_url=str(server.make_url("/keys"))) as one:
        assert await one.caller(bearer(key=KEY, algorithm="RS256", kid="one")) is not None
        assert await one.caller(bearer(key=KEY, algorithm="RS256", kid="one")) is not None
        assert asked == ["/keys"]
        with pytest.raises(InvalidAPIKey, match="signature is wrong"):
            await one.caller(bearer(key=OTHER_KEY, algorithm="RS256", kid="one"))
        with pytest.raises(InvalidAPIKey, match="not valid here"):
            await one.caller(bearer(key=KEY, algorithm="RS256", kid="two"))


async def test_an_identity_provider_that_is_away_is_not_the_callers_fault(tmp_path: Path) -> None:
    async with opened(tmp_path, jwks_url="http://127.0.0.1:9/keys") as one:
        with pytest.raises(jwt.PyJWKClientConnectionError):
            await one.caller(bearer(key=KEY, algorithm="RS256", kid="one"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"secret": SECRET, "jwks_url": "https://x/y"},
        {"secret": SECRET, "algorithms": ("RS256",)},
        {"public_key_file": "k", "algorithms": ("HS256",)},
    ],
    ids=range(4),
)
def test_settings_that_do_not_fit_together_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match=r"give one of|HS algorithms"):
        JwtSettings(**WHERE, **settings)


async def test_a_token_spends_its_users_budget(proxy: OpenProxy) -> None:
    section = f'[{{kind: jwt, audience: muxer, issuer: "https://id.example", secret: "{SECRET}"}}]'
    running = await proxy(plugins="[openai, sqlite, jwt]", authenticators=section)
    async with running.client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]}, headers=bearer()
    ) as response:
        assert response.status == 200
        record = await running.record(response)
    assert (record.user, record.key) == ("carol", "jwt:https://id.example")
