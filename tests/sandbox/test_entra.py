"""The token service, asked by the real client: MSAL behind ``TokenProvider``."""


import pytest

from pipelines.auth import Resource, TokenProvider, check_claims
from pipelines.config import Config, load_config
from pipelines.errors import SignInError, TransientError
from pipelines.sandbox.entra import OUTLOOK
from tests.auth.conftest import WaitlessClock
from tests.sandbox_fixture import RunningSandbox, Starter


@pytest.fixture
def tenant(start_sandbox: Starter) -> RunningSandbox:
    return start_sandbox("--messages", "0", "--mailboxes", "1")


def provider(config: Config) -> TokenProvider:
    return TokenProvider(config.tenant, WaitlessClock())


def changed(tenant: RunningSandbox, old: str, new: str) -> Config:
    text = tenant.config_path.read_text()
    assert old in text
    path = tenant.directory / "changed.yaml"
    path.write_text(text.replace(old, new))
    return load_config(path)


@pytest.mark.parametrize("resource", list(Resource))
def test_a_secret_signs_in(tenant: RunningSandbox, resource: Resource) -> None:
    config = tenant.config
    token = provider(config).token(resource)
    role = "IMAP.AccessAsApp" if resource is Resource.OUTLOOK else None
    check_claims(token, resource, config.tenant, role)


def test_a_certificate_signs_in(tenant: RunningSandbox) -> None:
    config = changed(tenant, "secret_env: MAILOVER_CLIENT_SECRET", "certificate: {path: app.pem}")
    check_claims(provider(config).token(Resource.OUTLOOK), Resource.OUTLOOK, config.tenant)


def test_the_roles_consented_to_are_in_the_token(tenant: RunningSandbox) -> None:
    tenant.control.do("tokens", roles={OUTLOOK: ["POP.AccessAsApp"]})
    config = tenant.config
    token = provider(config).token(Resource.OUTLOOK)
    with pytest.raises(SignInError, match=r"lacks the role IMAP\.AccessAsApp"):
        check_claims(token, Resource.OUTLOOK, config.tenant, "IMAP.AccessAsApp")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("c0ffee00-0000-4000-8000-000000000002", "c0ffee00-0000-4000-8000-0000000000ff", "AADSTS700016"),
        ("c0ffee00-0000-4000-8000-000000000001", "c0ffee00-0000-4000-8000-0000000000ff", "AADSTS90002"),
    ],
)
def test_ids_that_are_not_known_are_refused(tenant: RunningSandbox, old: str, new: str, code: str) -> None:
    with pytest.raises(SignInError) as raised:
        provider(changed(tenant, old, new)).token(Resource.OUTLOOK)
    assert raised.value.code == code


def test_a_wrong_secret_is_refused(tenant: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", "wrong")
    with pytest.raises(SignInError) as raised:
        provider(tenant.config).token(Resource.OUTLOOK)
    assert raised.value.code == "AADSTS7000215"


def test_a_service_that_is_unavailable_is_transient(tenant: RunningSandbox) -> None:
    tenant.control.do("add_fault", kind="unavailable", door="entra")
    with pytest.raises(TransientError):
        provider(tenant.config).token(Resource.OUTLOOK)
