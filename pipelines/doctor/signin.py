"""Whether the application can sign in: the tenant, a token for each resource, the roles in it."""

import re
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field

from pipelines.auth import Claims, Resource, TokenProvider, check_claims, describe_claims
from pipelines.auth.http import TokenHttpClient
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.doctor.connections import DISCOVERY
from pipelines.doctor.findings import Area, Check, Finding, State
from pipelines.doctor.powershell import ROLES, consent
from pipelines.errors import MailoverError, SignInError
from pipelines.sources.base import ProtocolName

AUTHORITY = Check(Area.SIGN_IN, "authority")
TOKEN = Check(Area.SIGN_IN, "token")
ROLE = Check(Area.SIGN_IN, "role")
_NAMES = {Resource.OUTLOOK: "Exchange Online", Resource.GRAPH: "Graph"}
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_READING = {"Mail.Read", "Mail.ReadWrite"}
_LONGEST_FOR_POP3 = 4096
"""Characters of a token; Exchange's POP3 breaks the connection on longer ones (jstedfast/MailKit#1948)."""


@dataclass(slots=True)
class SignIn:
    """How far the application got."""

    findings: list[Finding] = field(default_factory=list)
    claims: dict[Resource, Claims] = field(default_factory=dict)
    """Of the tokens that were issued, where they can be read."""
    blocked: dict[ProtocolName, str] = field(default_factory=dict)
    """Protocols that no mailbox need be tried over, each with the reason."""

    @property
    def object_id(self) -> str | None:
        """The service principal's, where a token tells it."""
        return next((claims.object_id for claims in self.claims.values() if claims.object_id), None)


def resource_of(protocol: ProtocolName) -> Resource:
    """What a token for ``protocol`` is for."""
    return Resource.GRAPH if protocol is ProtocolName.GRAPH else Resource.OUTLOOK


def check_authority(tenant: Tenant, tokens: TokenProvider, clock: Clock) -> Finding:
    """Whether the token service knows the tenant, and by which id."""
    url = f"{tokens.endpoints.authority}{DISCOVERY}"
    try:
        with closing(TokenHttpClient(tokens.endpoints.ca_file, clock)) as client:
            issuer = str(client.get(url).json().get("issuer", ""))
    except MailoverError as error:
        return AUTHORITY.failed(tenant.id, error)
    found = _GUID.search(issuer.lower())
    if found is None:
        what = f"{tokens.endpoints.authority} names no tenant as the issuer of its tokens"
        return AUTHORITY.failure(tenant.id, what, "check tenant.endpoints.authority")
    if _GUID.fullmatch(tenant.id) and found[0] != tenant.id:
        what = f"the token service answers for the tenant {found[0]}"
        return AUTHORITY.failure(tenant.id, what, "check tenant.id and tenant.endpoints.authority")
    return AUTHORITY.ok(tenant.id, "the token service knows the tenant" + _by_id(tenant.id, found[0]))


def sign_in(
    tenant: Tenant, tokens: TokenProvider, protocols: Collection[ProtocolName], clock: Clock
) -> SignIn:
    """A token for each resource that ``protocols`` need, and the roles that are in it."""
    outcome = SignIn()
    for resource in sorted({resource_of(each) for each in protocols}, key=list(Resource).index):
        name = _NAMES[resource]
        served = [each for each in ProtocolName if each in protocols and resource_of(each) is resource]
        try:
            token = tokens.token(resource)
            check_claims(token, resource, tenant, clock=clock)
        except MailoverError as error:
            outcome.findings.append(TOKEN.failed(name, error))
            outcome.blocked |= dict.fromkeys(served, f"there is no token for {name}")
            continue
        claims = describe_claims(token)
        if claims is None:
            what = "a token is issued; it cannot be read, so its claims are the server's to judge"
            outcome.findings.append(TOKEN.ok(name, what))
            continue
        outcome.claims[resource] = claims
        outcome.findings.append(_token(name, token, claims, served, clock))
        if resource is Resource.GRAPH:
            outcome.findings.append(_graph_role(claims))
            continue
        for protocol in served:
            outcome.findings.append(_legacy_role(token, protocol, tenant, clock))
            if outcome.findings[-1].state is State.FAILURE:
                outcome.blocked[protocol] = f"the token lacks {ROLES[protocol]}"
    return outcome


def _by_id(named: str, guid: str) -> str:
    return "" if named == guid else f": it is {guid}"


def _token(name: str, token: str, claims: Claims, served: Collection[ProtocolName], clock: Clock) -> Finding:
    if ProtocolName.POP3 in served and len(token) > _LONGEST_FOR_POP3:
        return TOKEN.warning(
            name,
            f"the token is {len(token):,} characters long; Exchange's POP3 breaks on more than "
            f"{_LONGEST_FOR_POP3:,}",
            "take roles and group claims from the application, or read these mailboxes over IMAP or Graph",
        )
    left = claims.expires_at - clock.now() if claims.expires_at else None
    until = f" for {left.total_seconds() / 60:.0f} minutes" if left else ""
    return TOKEN.ok(name, f"issued{until}; roles: {', '.join(claims.roles) or 'none'}")


def _legacy_role(token: str, protocol: ProtocolName, tenant: Tenant, clock: Clock) -> Finding:
    role = ROLES[protocol]
    try:
        check_claims(token, resource_of(protocol), tenant, role, clock=clock)
    except SignInError as error:
        return ROLE.failed(role, error, consent(tenant.client_id, [role]))
    return ROLE.ok(role, "the token holds it")


def _graph_role(claims: Claims) -> Finding:
    held = _READING.intersection(claims.roles)
    if held:
        return ROLE.ok(
            "Mail.Read",
            f"{' and '.join(sorted(held))} in the token, by consent in Entra: it opens every mailbox of the "
            "tenant, whatever scope RBAC for Applications sets",
        )
    if "Mail.ReadBasic.All" in claims.roles:
        return ROLE.warning(
            "Mail.Read",
            "the token holds Mail.ReadBasic.All only, which gives neither bodies nor attachments",
            "grant Mail.Read: RBAC for Applications limits it to certain mailboxes (`mailover setup`)",
        )
    return ROLE.ok(
        "Mail.Read",
        "not in the token, which is right where RBAC for Applications grants it: the mailboxes will tell",
    )


def not_signed_in(protocols: Collection[ProtocolName], why: str) -> SignIn:
    """No token was asked for."""
    skipped = TOKEN.skipped("every resource", f"not asked for: {why}")
    return SignIn([skipped], blocked=dict.fromkeys(protocols, why))
