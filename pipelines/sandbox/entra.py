"""The token service: Entra's v2 endpoints for an application that signs in as itself.

Faults at its door (command ``discovery`` or ``token``): ``throttle`` answers 429 with
Retry-After, ``delay`` waits, ``refuse`` says that the client secret has expired, every
other kind answers 503.
Source: Microsoft, "OAuth 2.0 client credentials flow on the Microsoft identity platform",
"Access token claims reference", and the AADSTS error codes.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.sandbox.faults import Door, FaultKind, Faults
from pipelines.sandbox.identity import CLIENT_ID, SERVICE_PRINCIPAL_ID, TENANT_DOMAIN, TENANT_ID, Identity

OUTLOOK, GRAPH = "https://outlook.office365.com", "https://graph.microsoft.com"
_KEY_ID = "sandbox"
_CLOCK_SKEW = 300.0
"""Seconds that a client's clock may be wrong."""
_OTHER_APPLICATION = "Client assertion application identifier doesn't match 'client_id' parameter."
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenRefusedError(Exception):
    """A token that does not open what it is shown for."""


class _RefusedError(Exception):
    def __init__(self, code: int, text: str, error: str = "invalid_client", status: int = 401) -> None:
        super().__init__(text)
        self.code, self.text, self.error, self.status = code, text, error, status


@dataclass(slots=True)
class Entra:
    """Issues tokens, and says whether one is good."""

    identity: Identity
    faults: Faults
    lifetime: float = 3600.0
    """Seconds a new token lives."""
    roles: dict[str, list[str]] = field(
        default_factory=lambda: {
            OUTLOOK: ["IMAP.AccessAsApp", "POP.AccessAsApp"],
            GRAPH: ["Mail.Read"],
        }
    )
    """What the administrator has consented to, by resource."""
    issued: int = 0
    _assertions: set[str] = field(default_factory=set)

    def routes(self) -> list[Route]:
        """The endpoints a client library asks."""
        return [
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self._discover),
            Route("/{tenant}/discovery/v2.0/keys", self._keys),
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
        ]

    def verify(self, token: str, audience: str, role: str) -> None:
        """Raise ``TokenRefusedError`` unless ``token`` is ours, alive, for ``audience`` and has ``role``."""
        try:
            claims = jwt.decode(
                token, self.identity.signing_key.public_key(), algorithms=["RS256"], audience=audience
            )
        except jwt.PyJWTError as error:
            raise TokenRefusedError(type(error).__name__) from None
        if role not in claims.get("roles", []):
            raise TokenRefusedError(f"lacks {role}")

    async def _discover(self, request: Request) -> Response:
        if answer := await self._misbehave("discovery"):
            return answer
        try:
            _check_tenant(request)
        except _RefusedError as refused:
            return _refusal(refused)
        # Whatever name the tenant was asked for by, its id is what it answers with.
        root = f"https://{request.headers['host']}/{TENANT_ID}"
        return JSONResponse(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "jwks_uri": f"{root}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token", "token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _keys(self, _request: Request) -> Response:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.identity.signing_key.public_key(), as_dict=True)
        return JSONResponse({"keys": [{**key, "use": "sig", "kid": _KEY_ID, "alg": "RS256"}]})

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if answer := await self._misbehave("token"):
            return answer
        try:
            _check_tenant(request)
            self._authenticate(form, str(request.url))
            token = self.issue(_resource(form.get("scope", "")))
        except _RefusedError as refused:
            return _refusal(refused)
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": int(self.lifetime),
                "ext_expires_in": int(self.lifetime),
                "access_token": token,
            }
        )

    async def _misbehave(self, command: str) -> Response | None:
        fault = self.faults.match(Door.ENTRA, command)
        if fault is None:
            return None
        if fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
            return None
        if fault.kind is FaultKind.THROTTLE:
            return JSONResponse(
                {"error": "temporarily_unavailable"}, 429, {"Retry-After": f"{fault.seconds:.0f}"}
            )
        if fault.kind is FaultKind.REFUSE:
            text = f"The provided client secret keys for app '{CLIENT_ID}' are expired."
            return _refusal(_RefusedError(7000222, text))
        return Response("Service unavailable", 503)

    def _authenticate(self, form: dict[str, str], endpoint: str) -> None:
        if form.get("grant_type") != "client_credentials":
            raise _RefusedError(
                70003, "The app requested an unsupported grant type.", "unsupported_grant_type", 400
            )
        if form.get("client_id") != CLIENT_ID:
            raise _RefusedError(
                700016,
                f"Application with identifier '{form.get('client_id')}' was not found in the directory "
                "'Sandbox'.",
                "unauthorized_client",
                400,
            )
        if "client_secret" in form:
            if form["client_secret"] != self.identity.secret:
                raise _RefusedError(
                    7000215,
                    "Invalid client secret provided. Ensure the secret being sent in the request is the "
                    "client secret value, not the client secret ID.",
                )
        elif form.get("client_assertion_type") == _ASSERTION:
            self._check_assertion(form.get("client_assertion", ""), endpoint)
        else:
            raise _RefusedError(
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or "
                "'client_secret'.",
            )

    def _check_assertion(self, assertion: str, endpoint: str) -> None:
        certificate = self.identity.app_certificate
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(
                assertion,
                cast(RSAPublicKey, certificate.public_key()),
                algorithms=["RS256", "PS256"],
                audience=endpoint,
                issuer=CLIENT_ID,
                options={"require": ["exp", "jti", "sub"]},
                leeway=_CLOCK_SKEW,
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise _RefusedError(700024, "Client assertion is not within its valid time range.") from None
        except jwt.InvalidAudienceError:
            text = "Client assertion audience claim does not match Realm issuer."
            raise _RefusedError(700023, text) from None
        except jwt.InvalidIssuerError:
            raise _RefusedError(700021, _OTHER_APPLICATION) from None
        except jwt.PyJWTError:
            raise _RefusedError(700027, "Client assertion failed signature validation.") from None
        if not _names(header, certificate):
            raise _RefusedError(
                700027,
                "The certificate with identifier used to sign the client assertion is not registered "
                "on application.",
            )
        if claims["sub"] != CLIENT_ID:
            raise _RefusedError(700021, _OTHER_APPLICATION)
        if claims["jti"] in self._assertions:
            raise _RefusedError(50013, "Assertion failed replay check.")
        self._assertions.add(claims["jti"])

    def issue(self, resource: str) -> str:
        """An access token for ``resource``, which has to be one that the tenant knows."""
        if resource not in self.roles:
            raise _RefusedError(
                500011,
                f"The resource principal named {resource} was not found in the tenant named Sandbox.",
                "invalid_resource",
                400,
            )
        now = int(time.time())
        self.issued += 1
        claims: dict[str, Any] = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now,
            "nbf": now,
            "exp": now + int(self.lifetime),
            "appid": CLIENT_ID,
            "idtyp": "app",
            "oid": SERVICE_PRINCIPAL_ID,
            "sub": SERVICE_PRINCIPAL_ID,
            "tid": TENANT_ID,
            "uti": uuid4().hex,
            "ver": "1.0",
        }
        if self.roles[resource]:
            claims["roles"] = self.roles[resource]
        return jwt.encode(claims, self.identity.signing_key, algorithm="RS256", headers={"kid": _KEY_ID})


def _check_tenant(request: Request) -> None:
    tenant = request.path_params["tenant"]
    if tenant.lower() not in (TENANT_ID, TENANT_DOMAIN):
        text = f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID."
        raise _RefusedError(90002, text, "invalid_request", 400)


def _resource(scope: str) -> str:
    """The resource of a scope such as ``https://graph.microsoft.com/.default``."""
    named = scope.split()
    if len(named) != 1:
        text = f"The provided request must include one value for the input parameter 'scope', not '{scope}'."
        raise _RefusedError(70011, text, "invalid_scope", 400)
    if not scope.endswith("/.default"):
        text = f"The provided value for scope {scope} is not valid. Client credential flows must have a "
        text += "scope value with /.default suffixed to the resource identifier."
        raise _RefusedError(1002012, text, "invalid_scope", 400)
    return scope.removesuffix("/.default")


def _names(header: dict[str, Any], certificate: x509.Certificate) -> bool:
    """Whether an assertion's header names ``certificate`` by a thumbprint (RFC 7515, 4.1.7 and 4.1.8)."""
    for field_name, digest in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):  # noqa: S303
        thumbprint = jwt.utils.base64url_encode(certificate.fingerprint(digest)).decode()
        # MSAL pads it, RFC 7515 does not.
        if str(header.get(field_name, "")).rstrip("=") == thumbprint:
            return True
    return False


def _refusal(refused: _RefusedError) -> JSONResponse:
    trace, correlation = uuid4(), uuid4()
    now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return JSONResponse(
        {
            "error": refused.error,
            "error_description": f"AADSTS{refused.code}: {refused.text} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {now}",
            "error_codes": [refused.code],
            "timestamp": now,
            "trace_id": str(trace),
            "correlation_id": str(correlation),
            "error_uri": f"https://login.microsoftonline.com/error?code={refused.code}",
        },
        refused.status,
    )
