"""No secret leaves the sign-in: not in logs at DEBUG, not in errors, not in the variables of a traceback."""

import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.auth import Resource, TokenProvider, check_claims, describe_claims
from pipelines.config import Tenant
from pipelines.errors import MailoverError
from tests.auth.conftest import WaitlessClock
from tests.auth.entra import SECRET, Answer, Entra, refused

Provide = Callable[[Tenant], TokenProvider]


def _told_of(error: BaseException) -> str:
    """All that a logger, a crash reporter or another process could learn from ``error``."""
    assert error.__traceback__
    # The first frame is the test's own, which knows the secret.
    product = error.__traceback__.tb_next
    frames = traceback.TracebackException(type(error), error, product, capture_locals=True)
    linked = [repr(error.__context__), repr(error.__cause__), repr(error.__dict__)]
    return "".join([*frames.format(chain=True), str(error), repr(error), str(pickle.dumps(error)), *linked])


@pytest.mark.parametrize(
    "answer",
    [
        refused(f"AADSTS9999999: you sent {SECRET}"),
        refused("AADSTS7000215: Invalid client secret provided."),
        Answer(200, '{"access_token": "eyJhbGciOi.cut.off'),
        Answer(400, f"<html>{SECRET}</html>"),
        Answer(503, SECRET),
        Answer(429, "{}", {"Retry-After": "3600"}),
        Answer(200, f'{{"error": "{SECRET}"}}'),
        Answer(200, '{"error": "x", "error_description": "bad token eyJhbGciOi.payload.signature"}'),
    ],
)
def test_secrets_stay_secret_when_signing_in_fails(
    answer: Answer, entra: Entra, tenant: Tenant, provide: Provide, all_logs: pytest.LogCaptureFixture
) -> None:
    entra.always = answer
    provider = provide(tenant)
    for _ in range(2):
        with pytest.raises(MailoverError) as caught:
            provider.token(Resource.OUTLOOK)
        told = _told_of(caught.value)
        assert SECRET not in told
        assert "eyJhbGciOi" not in told
    assert SECRET not in all_logs.text
    assert "eyJhbGciOi" not in all_logs.text
    assert "urllib3" in all_logs.text, "nothing was logged, so nothing was proved"


@pytest.mark.parametrize("fault", ["certificate", "connection"])
def test_secrets_stay_secret_when_the_service_is_lost_after_its_discovery(
    fault: str,
    entra: Entra,
    tenant: Tenant,
    provide: Provide,
    ca: tuple[Path, Path],
    clock: WaitlessClock,
    all_logs: pytest.LogCaptureFixture,
) -> None:
    elsewhere = f"https://127.0.0.1:{entra.port}" if fault == "certificate" else "https://127.0.0.1:1"
    entra.on_discovery = [
        Answer(200, f'{{"authorization_endpoint": "{elsewhere}/t/a", "token_endpoint": "{elsewhere}/t/b"}}')
    ]
    with pytest.raises(MailoverError) as caught:
        provide(tenant).token(Resource.OUTLOOK)
    assert "cannot be reached" in caught.value.message
    assert SECRET not in _told_of(caught.value) + all_logs.text


def test_secrets_stay_secret_when_signing_in_succeeds(
    entra: Entra, tenant: Tenant, provide: Provide, all_logs: pytest.LogCaptureFixture
) -> None:
    provider = provide(tenant)
    provider.token(Resource.OUTLOOK)
    check_claims(provider.token(Resource.OUTLOOK, refresh=True), Resource.OUTLOOK, tenant, "IMAP.AccessAsApp")
    shown = f"{provider!r} {provider} {provider.endpoints} {tenant!r} {describe_claims(entra.issued[0])}"
    assert "msal" in all_logs.text, "nothing was logged, so nothing was proved"
    for kept in (SECRET, *entra.issued):
        assert kept not in all_logs.text + shown
