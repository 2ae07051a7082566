"""The token service, asked by the real client (MSAL behind ``TokenProvider``) and by hand."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipelines.auth import Resource, TokenProvider, check_claims
from pipelines.config import Config, load_config
from pipelines.errors import SignInError, ThrottledError, TransientError
from pipelines.sandbox.control import SandboxControl
from pipelines.sandbox.entra import GRAPH, OUTLOOK, Entra, TokenRefusedError
from pipelines.sandbox.faults import Faults
from pipelines.sandbox.identity import CLIENT_ID, TENANT_ID, make_identity
from pipelines.sandbox.server import Sandbox
from tests.auth.conftest import WaitlessClock

OTHER_ID = "c0ffee00-0000-4000-8000-0000000000ff"
Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def secret(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    secret = (directory / "client-secret").read_text()
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", secret)
    return secret


@pytest.fixture
def session(directory: Path) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        opened.verify = str(directory / "ca.pem")
        yield opened


@pytest.fixture
def ask(tenant: Sandbox, session: requests.Session, secret: str) -> Ask:
    """Ask for a token with some fields of the form changed, and get the answer."""

    def post(named: str = TENANT_ID, **changed: str | None) -> requests.Response:
        form: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": secret,
            "scope": f"{OUTLOOK}/.default",
        }
        return session.post(f"{tenant.url}/{named}/oauth2/v2.0/token", data=form | changed, timeout=30)

    return post


def changed(tenant: Sandbox, old: str, new: str) -> Config:
    text = tenant.config.read_text()
    assert old in text
    path = tenant.config.with_name("changed.yaml")
    path.write_text(text.replace(old, new))
    return load_config(path)


def token_of(config: Config, resource: Resource = Resource.OUTLOOK) -> str:
    provider = TokenProvider(config.tenant, WaitlessClock())
    try:
        return provider.token(resource)
    finally:
        provider.close()


def assertion(directory: Path, tenant: Sandbox, **claims: Any) -> str:
    pem = (directory / "app.pem").read_bytes()
    digest = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())
    whole = {
        "aud": f"{tenant.url}/{TENANT_ID}/oauth2/v2.0/token",
        "iss": CLIENT_ID,
        "sub": CLIENT_ID,
        "jti": uuid4().hex,
        "exp": time.time() + 600,
    }
    return jwt.encode(
        whole | claims,
        load_pem_private_key(pem, None),  # type: ignore[arg-type]
        algorithm="PS256",
        headers={"x5t#S256": jwt.utils.base64url_encode(digest).decode()},
    )


def shown(signed: str) -> dict[str, str | None]:
    return {
        "client_secret": None,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed,
    }


@pytest.mark.parametrize("resource", list(Resource))
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("tenant:", "tenant:", id="secret"),
        pytest.param("secret_env: MAILOVER_CLIENT_SECRET", "certificate: {path: app.pem}", id="certificate"),
        pytest.param(TENANT_ID, "contoso.com", id="tenant by its domain"),
    ],
)
def test_the_application_signs_in(tenant: Sandbox, resource: Resource, old: str, new: str) -> None:
    config = changed(tenant, old, new)
    token = token_of(config, resource)
    check_claims(token, resource, config.tenant, "IMAP.AccessAsApp")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == (OUTLOOK if resource is Resource.OUTLOOK else GRAPH)
    assert claims["tid"] == TENANT_ID
    assert claims["appid"] == CLIENT_ID
    assert claims["idtyp"] == "app"


def test_the_published_key_verifies_a_token(tenant: Sandbox, session: requests.Session) -> None:
    discovery = f"{tenant.url}/{TENANT_ID}/v2.0/.well-known/openid-configuration"
    keys_at = session.get(discovery, timeout=30).json()["jwks_uri"]
    keys = session.get(keys_at, timeout=30).json()["keys"]
    token = token_of(load_config(tenant.config))
    key = next(key for key in keys if key["kid"] == jwt.get_unverified_header(token)["kid"])
    assert jwt.decode(token, jwt.PyJWK(key), audience=OUTLOOK)["tid"] == TENANT_ID


def test_the_roles_consented_to_are_in_the_token(tenant: Sandbox, control: SandboxControl) -> None:
    control.do("tokens", roles={OUTLOOK: ["POP.AccessAsApp"]})
    config = load_config(tenant.config)
    token = token_of(config)
    with pytest.raises(SignInError, match=r"lacks the role IMAP\.AccessAsApp"):
        check_claims(token, Resource.OUTLOOK, config.tenant, "IMAP.AccessAsApp")


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000218),
        ({"client_id": OTHER_ID}, 400, "unauthorized_client", 700016),
        ({"named": OTHER_ID}, 400, "invalid_request", 90002),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": f"{OUTLOOK}/IMAP.AccessAsApp"}, 400, "invalid_scope", 1002012),
        ({"scope": f"{OUTLOOK}/.default {GRAPH}/.default"}, 400, "invalid_scope", 70011),
        ({"scope": None}, 400, "invalid_scope", 70011),
        ({"scope": "https://vault.azure.net/.default"}, 400, "invalid_resource", 500011),
    ],
)
def test_a_refusal_has_the_shape_and_code_of_entra(
    ask: Ask, form: dict[str, str | None], status: int, error: str, code: int
) -> None:
    answer = ask(**form)
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} < set(body)


def test_a_signed_request_is_taken_once(ask: Ask, tenant: Sandbox, directory: Path) -> None:
    signed = assertion(directory, tenant)
    assert ask(**shown(signed)).status_code == 200
    assert ask(**shown(signed)).status_code == 401


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, 700024),
        ({"aud": "https://login.example/token"}, 700023),
        ({"iss": OTHER_ID}, 700021),
        ({"sub": OTHER_ID}, 700021),
    ],
)
def test_a_signed_request_that_does_not_fit_is_refused(
    ask: Ask, tenant: Sandbox, directory: Path, claims: dict[str, Any], code: int
) -> None:
    assert ask(**shown(assertion(directory, tenant, **claims))).json()["error_codes"] == [code]


def test_a_request_signed_with_another_key_is_refused(ask: Ask, tenant: Sandbox, tmp_path: Path) -> None:
    make_identity(tmp_path)
    assert ask(**shown(assertion(tmp_path, tenant))).json()["error_codes"] == [700027]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ({"kind": "unavailable"}, TransientError),
        ({"kind": "throttle", "seconds": 7}, ThrottledError),
        ({"kind": "refuse"}, SignInError),
    ],
)
def test_a_fault_reaches_the_client_as_what_it_is(
    tenant: Sandbox, control: SandboxControl, fault: dict[str, Any], raised: type[Exception]
) -> None:
    control.do("add_fault", door="entra", command="token", **fault)
    with pytest.raises(raised) as caught:
        token_of(load_config(tenant.config))
    assert getattr(caught.value, "code", None) in (None, "AADSTS7000222")


def test_a_door_takes_only_the_tokens_meant_for_it(tmp_path: Path) -> None:
    entra = Entra(make_identity(tmp_path), Faults())
    token = entra.issue(OUTLOOK)
    entra.verify(token, OUTLOOK, "IMAP.AccessAsApp")
    for audience, role in ((GRAPH, "Mail.Read"), (OUTLOOK, "SMTP.SendAsApp")):
        with pytest.raises(TokenRefusedError):
            entra.verify(token, audience, role)
    entra.lifetime = -1
    with pytest.raises(TokenRefusedError, match="Expired"):
        entra.verify(entra.issue(OUTLOOK), OUTLOOK, "IMAP.AccessAsApp")
    entra.roles[OUTLOOK] = []
    entra.lifetime = 60
    with pytest.raises(TokenRefusedError, match="lacks"):
        entra.verify(entra.issue(OUTLOOK), OUTLOOK, "IMAP.AccessAsApp")
    stranger = Entra(make_identity(tmp_path / "stranger"), Faults())
    with pytest.raises(TokenRefusedError):
        entra.verify(stranger.issue(OUTLOOK), OUTLOOK, "IMAP.AccessAsApp")
