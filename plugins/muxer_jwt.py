"""An authenticator for JSON Web Tokens: callers of a company's identity provider need no key of ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, get_args

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Meta, Struct

from muxer import Authenticator, Caller, ConfigInvalid, Context, Fault, InvalidAPIKey, Kind, Role, hookimpl

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"]
_LONGEST = 16_384
_LONGEST_NAME = 256
_TOKEN = re.compile(r"eyJ[\w\-]*(?:\.[\w\-]*){2}", re.ASCII)
_JWKS_DEADLINE_S = 4.0
_JWKS_KEPT_S = 300.0


class JwtSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose tokens hold, and which of their claims say who calls.

    Exactly one of `secret`, `public_key_file` and `jwks_url` says by what a token is verified. The algorithms are ours
    to choose, never the token's (RFC 8725, 3.1).
    """

    audience: Annotated[str, Meta(min_length=1)]
    issuer: Annotated[str, Meta(min_length=1)]
    secret: Annotated[str, Meta(min_length=32)] | None = None
    public_key_file: str | None = None
    jwks_url: Annotated[str, Meta(pattern="^https://|^http://(localhost|127\\.0\\.0\\.1)[:/]")] | None = None
    algorithms: tuple[Algorithm, ...] = ()
    leeway_s: Annotated[float, Meta(ge=0)] = 30.0
    user_claim: str = "sub"
    team_claim: str | None = None
    tags_claim: str | None = None
    models_claim: str | None = None
    role_claim: str | None = None

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.secret, self.public_key_file, self.jwks_url)) != 1:
            raise ValueError("give one of secret, public_key_file and jwks_url")
        symmetric = {algorithm for algorithm in self.algorithms if algorithm.startswith("HS")}
        if symmetric != (set(self.algorithms) if self.secret else set()):
            raise ValueError("HS algorithms go with secret, all others with public_key_file or jwks_url")

    @property
    def accepted(self) -> Sequence[str]:
        """The algorithms a token may be signed with."""
        return self.algorithms or (("HS256",) if self.secret else ("RS256", "ES256", "EdDSA"))


class Jwt:
    """Verifies the token of `Authorization: Bearer` and reads who it is about."""

    def __init__(self, settings: JwtSettings, key: object) -> None:
        self._settings = settings
        self._key = key

    async def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """See Authenticator. What does not look like a token is left to others."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            return None
        if len(token) > _LONGEST:
            raise InvalidAPIKey(f"the token is over {_LONGEST} characters")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                await self._key_of(token),
                algorithms=list(self._settings.accepted),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "aud", "iss", self._settings.user_claim]},
            )
        except jwt.PyJWKClientConnectionError:
            raise  # nobody's fault but the identity provider's: the caller is told to try again
        # Headers are nested and typed as whoever sends them likes; older versions of the library let that through. It
        # must not count as a failure of ours: five of those shut everybody out.
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise InvalidAPIKey(
                f"the token does not hold: {_REASONS.get(type(error), 'it is not valid here')}"
            ) from error
        return self._read(claims)

    async def _key_of(self, token: str) -> Any:
        if not isinstance(self._key, jwt.PyJWKClient):
            return self._key
        return (await asyncio.to_thread(self._key.get_signing_key_from_jwt, token)).key

    def _read(self, claims: Mapping[str, Any]) -> Caller:
        settings = self._settings
        role = _texts(claims, settings.role_claim)
        known = [one for one in reversed(get_args(Role)) if one in role]
        return Caller(
            key=f"jwt:{settings.issuer}",
            user=_text(claims, settings.user_claim),
            team=_text(claims, settings.team_claim) if settings.team_claim in claims else "",
            tags=_texts(claims, settings.tags_claim),
            models=self._models(claims),
            role=known[0] if known else "user",
        )

    def _models(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """A caller without models may use all: whoever is given an empty list may use none."""
        name = self._settings.models_claim
        models = _texts(claims, name)
        if name in claims and not models:
            raise InvalidAPIKey(f"the token does not hold: its claim {name!r} allows no model")
        return models


_REASONS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.InvalidAlgorithmError: "it is signed with an algorithm that is not accepted",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "a claim is missing that is required",
}


def _text(claims: Mapping[str, Any], name: str | None) -> str:
    value = claims.get(name or "")
    if not isinstance(value, str) or not value:
        raise InvalidAPIKey(f"the token does not hold: its claim {name!r} is not a text")
    if len(value) > _LONGEST_NAME or not value.isprintable():
        raise InvalidAPIKey(f"the token does not hold: its claim {name!r} is too long or cannot be printed")
    return value


def _texts(claims: Mapping[str, Any], name: str | None) -> tuple[str, ...]:
    """A claim that is a list of texts, or one text of words, as scopes are written."""
    value = claims.get(name, ()) if name else ()
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    if value == ():
        return ()
    raise InvalidAPIKey(f"the token does not hold: its claim {name!r} is not a list of texts")


@asynccontextmanager
async def open_jwt(settings: JwtSettings, context: Context) -> AsyncIterator[Authenticator]:
    """Raises ConfigInvalid for a key file that cannot be read or holds no key that fits. The keys of `jwks_url` are
    fetched when first needed."""
    key: object = settings.secret
    if settings.jwks_url is not None:
        key = jwt.PyJWKClient(settings.jwks_url, cache_keys=True, lifespan=_JWKS_KEPT_S, timeout=_JWKS_DEADLINE_S)
    elif settings.public_key_file is not None:
        try:
            key = _public_key((context.folder / settings.public_key_file).read_bytes(), settings.accepted)
        except OSError as error:
            raise _fault(settings.public_key_file, f"cannot be read: {error}") from error
        # What a file with a wrong key says must not be repeated: it may be a private one.
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _fault(settings.public_key_file, "holds no public key or certificate in PEM") from error
        except jwt.InvalidKeyError as error:
            accepted = ", ".join(settings.accepted)
            raise _fault(settings.public_key_file, f"holds a key that fits none of {accepted}") from error
    yield Jwt(settings, key)


def _public_key(pem: bytes, algorithms: Sequence[str]) -> object:
    """The key of a file. Raises ValueError for what is none, InvalidKeyError for one of another kind of algorithm."""
    is_certificate = b"-----BEGIN CERTIFICATE-----" in pem
    key: Any = load_pem_x509_certificate(pem).public_key() if is_certificate else load_pem_public_key(pem)
    for algorithm in algorithms:
        try:
            return jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except (jwt.InvalidKeyError, TypeError, ValueError):
            continue
    raise jwt.InvalidKeyError


def _fault(file: str, what: str) -> ConfigInvalid:
    return ConfigInvalid([Fault(f"{file!r} {what}", path="authenticators.public_key_file")])


@hookimpl
def register_authenticators() -> list[Kind[Authenticator]]:
    """Offers the kind `jwt`."""
    return [Kind("jwt", JwtSettings, open_jwt)]
