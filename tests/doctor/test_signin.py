"""What doctor says of a tenant and of the tokens that it issues."""

import json
from collections.abc import Callable, Iterator

import pytest

from pipelines.auth import Resource, TokenProvider
from pipelines.config import Tenant
from pipelines.doctor.findings import Finding, State
from pipelines.doctor.signin import SignIn, check_authority, sign_in
from pipelines.sources.base import ProtocolName
from tests.auth.entra import TENANT, Answer, Entra, refused
from tests.doctor.conftest import Configure
from tests.doctor.documented import WaitlessClock

IMAP, POP3, GRAPH = ProtocolName.IMAP, ProtocolName.POP3, ProtocolName.GRAPH
OTHER = "99999999-2222-3333-4444-555555555555"


@pytest.fixture
def tenant(configure: Configure, entra: Entra) -> Tenant:
    given = configure().tenant
    endpoints = given.endpoints.model_copy(update={"authority": entra.url})
    return given.model_copy(update={"endpoints": endpoints})


@pytest.fixture
def tokens(tenant: Tenant, clock: WaitlessClock) -> Iterator[TokenProvider]:
    provider = TokenProvider(tenant, clock)
    yield provider
    provider.close()


Try = Callable[..., SignIn]


@pytest.fixture
def attempt(tenant: Tenant, tokens: TokenProvider, clock: WaitlessClock) -> Try:
    return lambda *protocols: sign_in(tenant, tokens, protocols, clock)


def states(outcome: SignIn) -> list[tuple[str, str, State]]:
    return [(each.check, each.subject, each.state) for each in outcome.findings]


def one(outcome: SignIn, check: str) -> Finding:
    (found,) = [each for each in outcome.findings if each.check == check]
    return found


def test_each_protocol_needs_its_own_role(entra: Entra, attempt: Try) -> None:
    entra.roles = ["POP.AccessAsApp"]
    outcome = attempt(IMAP, POP3)
    assert states(outcome) == [
        ("token", "Exchange Online", State.OK),
        ("role", "IMAP.AccessAsApp", State.FAILURE),
        ("role", "POP.AccessAsApp", State.OK),
    ]
    assert outcome.blocked == {IMAP: "the token lacks IMAP.AccessAsApp"}
    assert any("'IMAP.AccessAsApp'" in line for line in outcome.findings[1].commands)


@pytest.mark.parametrize(
    ("roles", "state", "words"),
    [
        (["Mail.Read"], State.OK, "it opens every mailbox of the tenant"),
        (["Mail.ReadWrite"], State.OK, "Mail.ReadWrite in the token"),
        ([], State.OK, "RBAC for Applications grants it"),
        (["Mail.ReadBasic.All"], State.WARNING, "neither bodies nor attachments"),
    ],
)
def test_graph_may_do_without_a_role_claim(
    entra: Entra, attempt: Try, roles: list[str], state: State, words: str
) -> None:
    entra.roles = roles
    outcome = attempt(GRAPH)
    assert (one(outcome, "role").state, outcome.blocked) == (state, {})
    assert words in one(outcome, "role").what


def test_a_long_token_is_a_warning_for_pop3_only(entra: Entra, attempt: Try) -> None:
    entra.roles = ["IMAP.AccessAsApp", "POP.AccessAsApp", *(f"Role{number:04}.All" for number in range(400))]
    assert one(attempt(POP3), "token").state is State.WARNING
    assert one(attempt(IMAP), "token").state is State.OK


def test_a_token_that_cannot_be_read_is_left_to_the_server(entra: Entra, attempt: Try) -> None:
    entra.always = Answer(200, json.dumps({"access_token": "EwBAAl3BAAUFFpUAo7", "expires_in": 3599}))
    outcome = attempt(IMAP)
    assert states(outcome) == [("token", "Exchange Online", State.OK)]
    assert (outcome.claims, outcome.blocked, outcome.object_id) == ({}, {}, None)


def test_what_stops_one_resource_does_not_stop_the_other(entra: Entra, attempt: Try) -> None:
    entra.on_token = [
        refused("AADSTS500011: The resource principal was not found.", error="invalid_resource")
    ]
    outcome = attempt(IMAP, GRAPH)
    assert [each.state for each in outcome.findings if each.check == "token"] == [State.FAILURE, State.OK]
    assert outcome.blocked == {IMAP: "there is no token for Exchange Online"}
    assert list(outcome.claims) == [Resource.GRAPH]


def test_the_object_id_is_the_tokens_own(entra: Entra, attempt: Try) -> None:
    sign = entra.sign
    entra.sign = lambda audience, **claims: sign(audience, oid=OTHER, **claims)  # type: ignore[method-assign]
    assert attempt(IMAP).object_id == OTHER


@pytest.mark.parametrize(
    ("issuer", "state", "what"),
    [
        (f"https://login.example/{TENANT}/v2.0", State.OK, "the token service knows the tenant"),
        (f"https://login.example/{OTHER}/v2.0", State.FAILURE, f"answers for the tenant {OTHER}"),
        ("https://login.example/", State.FAILURE, "names no tenant"),
    ],
)
def test_the_token_service_must_answer_for_the_tenant(
    entra: Entra,
    tenant: Tenant,
    tokens: TokenProvider,
    clock: WaitlessClock,
    issuer: str,
    state: State,
    what: str,
) -> None:
    entra.on_discovery = [Answer(200, json.dumps({"issuer": issuer}))]
    found = check_authority(tenant, tokens, clock)
    assert (found.state, what in found.what) == (state, True), found


def test_a_tenant_named_by_its_domain_is_shown_with_its_id(
    entra: Entra, tenant: Tenant, tokens: TokenProvider, clock: WaitlessClock
) -> None:
    by_domain = tenant.model_copy(update={"id": "contoso.com"})
    assert check_authority(by_domain, tokens, clock).what.endswith(f": it is {TENANT}")
