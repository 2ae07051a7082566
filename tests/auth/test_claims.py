"""What a token's claims are checked for."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.auth import Claims, Resource, check_claims, describe_claims
from pipelines.config import Endpoints, SecretCredential, Tenant
from pipelines.errors import SignInError
from tests.auth.conftest import WaitlessClock
from tests.auth.entra import CLIENT, TENANT, Entra

_OUTLOOK, _GRAPH = "https://outlook.office365.com", "https://graph.microsoft.com"
_IMAP = "IMAP.AccessAsApp"


def _tenant(**changes: object) -> Tenant:
    given = {"id": TENANT, "client_id": CLIENT, "credential": SecretCredential(secret_env="SECRET")}
    return Tenant.model_validate({**given, **changes})


def _token(audience: str = _OUTLOOK, roles: tuple[str, ...] = (_IMAP,), **claims: object) -> str:
    service = Entra()
    service.roles = list(roles)
    return service.sign(audience, **claims)


@pytest.mark.parametrize(
    ("resource", "audience"),
    [
        (Resource.OUTLOOK, _OUTLOOK),
        (Resource.OUTLOOK, f"{_OUTLOOK}/"),
        (Resource.OUTLOOK, "https://ps.outlook.com"),
        (Resource.OUTLOOK, "https://partner.outlook.cn"),
        (Resource.OUTLOOK, "https://outlook.office365.us"),
        (Resource.OUTLOOK, "00000002-0000-0ff1-ce00-000000000000"),
        (Resource.GRAPH, _GRAPH),
        (Resource.GRAPH, "00000003-0000-0000-c000-000000000000"),
        (Resource.GRAPH, "https://dod-graph.microsoft.us"),
        (Resource.GRAPH, "https://localhost:8443"),
    ],
)
def test_a_token_for_the_resource_is_accepted(resource: Resource, audience: str) -> None:
    tenant = _tenant(endpoints=Endpoints(graph="https://localhost:8443/v1.0"))
    check_claims(_token(audience), resource, tenant, _IMAP)


@pytest.mark.parametrize(
    ("resource", "audience", "wanted"),
    [(Resource.OUTLOOK, _GRAPH, _OUTLOOK), (Resource.GRAPH, _OUTLOOK, _GRAPH)],
)
def test_a_token_for_the_other_resource_is_named(resource: Resource, audience: str, wanted: str) -> None:
    with pytest.raises(SignInError) as caught:
        check_claims(_token(audience), resource, _tenant())
    assert caught.value.message == f"the token is for {audience}, not for {wanted}/.default"


def test_a_missing_role_for_a_mail_protocol_is_named_with_the_way_to_grant_it() -> None:
    with pytest.raises(SignInError) as caught:
        check_claims(_token(), Resource.OUTLOOK, _tenant(), "POP.AccessAsApp")
    assert str(caught.value) == (
        "the application lacks the role POP.AccessAsApp (it holds: IMAP.AccessAsApp)\n"
        "  → add POP.AccessAsApp of Office 365 Exchange Online (not Microsoft Graph) to the app "
        "registration, grant admin consent, and wait for a new token"
    )


def test_a_role_missing_from_a_graph_token_is_no_fault_because_rbac_gives_no_claim() -> None:
    check_claims(_token(_GRAPH, roles=()), Resource.GRAPH, _tenant(), "Mail.Read")


def test_a_token_of_another_tenant_is_named_unless_the_tenant_is_given_by_domain() -> None:
    token = _token(tid="99999999-2222-3333-4444-555555555555")
    with pytest.raises(SignInError, match="is of tenant 99999999-2222-3333-4444-555555555555, not 11111111-"):
        check_claims(token, Resource.OUTLOOK, _tenant(), _IMAP)
    check_claims(token, Resource.OUTLOOK, _tenant(id="contoso.com"), _IMAP)


@pytest.mark.parametrize(
    ("ahead", "message"),
    [
        (timedelta(minutes=90), "by this computer's clock the token expired 30 minutes ago"),
        (timedelta(minutes=-30), "this computer's clock is 30 minutes behind the token service"),
    ],
)
def test_a_clock_that_is_wrong_is_named(ahead: timedelta, message: str) -> None:
    class Clock(WaitlessClock):
        def now(self) -> datetime:
            return datetime.now(UTC) + ahead

    with pytest.raises(SignInError) as caught:
        check_claims(_token(), Resource.OUTLOOK, _tenant(), _IMAP, clock=Clock())
    assert (
        str(caught.value) == f"{message}\n  → set this computer's clock; it must be right within five minutes"
    )


def test_a_token_that_is_no_jwt_is_left_to_the_server() -> None:
    check_claims("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA", Resource.OUTLOOK, _tenant(), _IMAP)
    assert describe_claims("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA") is None


@pytest.mark.parametrize(
    "claims", [{"exp": "soon"}, {"exp": 10**20}, {"aud": ["a"]}, {"roles": "x"}, {"iat": None}]
)
def test_bad_input_gets_a_clear_error_or_none_for_claims_of_odd_types(claims: dict[str, object]) -> None:
    found = describe_claims(_token(**claims))  # type: ignore[arg-type]
    assert found is None or found.application == CLIENT


def test_the_claims_are_described_without_the_token() -> None:
    now = int(time.time())
    token = _token(iat=now, exp=now + 60, oid="99999999-8888-7777-6666-555555555555")
    assert describe_claims(token) == Claims(
        audience=_OUTLOOK,
        roles=(_IMAP,),
        tenant=TENANT,
        application=CLIENT,
        object_id="99999999-8888-7777-6666-555555555555",
        issued_at=datetime.fromtimestamp(now, UTC),
        expires_at=datetime.fromtimestamp(now + 60, UTC),
    )
