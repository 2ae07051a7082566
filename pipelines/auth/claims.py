"""What a token says about itself, looked at before a server is asked.

Exchange answers a token without the right role with a bare ``NO AUTHENTICATE failed.``;
the claims tell which role. Signatures are the server's business and are not verified.
Source: Microsoft, "Access token claims reference".
"""

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pipelines.auth.clouds import CLOUDS
from pipelines.auth.endpoints import Resource, resolve
from pipelines.clock import Clock, SystemClock
from pipelines.config import Tenant
from pipelines.errors import SignInError

_EXCHANGE_ONLINE_ID = "00000002-0000-0ff1-ce00-000000000000"
_GRAPH_ID = "00000003-0000-0000-c000-000000000000"
_CLOCK_SKEW = timedelta(minutes=5)
_GUID = re.compile(r"[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims a person needs to see; never the token."""

    audience: str | None
    roles: tuple[str, ...]
    tenant: str | None
    application: str | None
    object_id: str | None
    """Of the application's service principal: the Object ID under Enterprise applications."""
    issued_at: datetime | None
    expires_at: datetime | None


def describe_claims(token: str) -> Claims | None:
    """The claims of ``token``; None where it is no readable JWT (Microsoft does not promise one)."""
    claims = _payload(token)
    if claims is None:
        return None
    roles = claims.get("roles")
    return Claims(
        audience=_text(claims.get("aud")),
        roles=tuple(map(str, roles)) if isinstance(roles, list) else (),
        tenant=_text(claims.get("tid")),
        application=_text(claims.get("appid") or claims.get("azp")),
        object_id=_text(claims.get("oid")),
        issued_at=_instant(claims.get("iat")),
        expires_at=_instant(claims.get("exp")),
    )


def check_claims(
    token: str,
    resource: Resource,
    tenant: Tenant,
    required_role: str | None = None,
    *,
    clock: Clock | None = None,
) -> None:
    """Make sure that ``token`` can serve ``resource``, as far as its claims tell.

    ``required_role`` is ``IMAP.AccessAsApp`` or ``POP.AccessAsApp``. A role missing from a
    Graph token is no fault: RBAC for Applications grants access without a claim. A token that is
    not a JWT is left to the server. Raises ``SignInError`` naming the claim and the remedy.
    """
    claims = describe_claims(token)
    if claims is None:
        return
    _check_audience(claims, resource, tenant)
    _check_tenant(claims, tenant)
    _check_time(claims, (clock or SystemClock()).now())
    if resource is Resource.OUTLOOK and required_role and required_role not in claims.roles:
        held = ", ".join(claims.roles) or "none"
        raise SignInError(
            f"the application lacks the role {required_role} (it holds: {held})",
            remedy=f"add {required_role} of Office 365 Exchange Online (not Microsoft Graph) to the app "
            "registration, grant admin consent, and wait for a new token",
        )


def _check_audience(claims: Claims, resource: Resource, tenant: Tenant) -> None:
    # Any cloud's name will do: what the national clouds write into `aud` is not documented, and
    # the mistake to find is a token of Graph for Exchange, or the other way round.
    if resource is Resource.OUTLOOK:
        accepted = {cloud.outlook for cloud in CLOUDS.values()} | {
            "https://ps.outlook.com",
            _EXCHANGE_ONLINE_ID,
        }
    else:
        configured = urlsplit(resolve(tenant).graph)
        accepted = {cloud.graph for cloud in CLOUDS.values()}
        accepted |= {_GRAPH_ID, f"https://{configured.netloc}", f"https://{configured.hostname}"}
    if (claims.audience or "").rstrip("/") not in accepted:
        raise SignInError(
            f"the token is for {claims.audience or 'nobody'}, not for {resolve(tenant).scopes[resource]}",
            remedy="check tenant.cloud and tenant.endpoints",
        )


def _check_tenant(claims: Claims, tenant: Tenant) -> None:
    # tenant.id may also be a domain, which no claim repeats.
    if claims.tenant and _GUID.fullmatch(tenant.id) and claims.tenant.lower() != tenant.id:
        raise SignInError(
            f"the token is of tenant {claims.tenant}, not {tenant.id}", remedy="check tenant.id"
        )


def _check_time(claims: Claims, now: datetime) -> None:
    remedy = "set this computer's clock; it must be right within five minutes"
    if claims.issued_at and claims.issued_at - now > _CLOCK_SKEW:
        behind = (claims.issued_at - now).total_seconds() / 60
        raise SignInError(
            f"this computer's clock is {behind:.0f} minutes behind the token service", remedy=remedy
        )
    if claims.expires_at and claims.expires_at <= now:
        late = (now - claims.expires_at).total_seconds() / 60
        raise SignInError(f"by this computer's clock the token expired {late:.0f} minutes ago", remedy=remedy)


def _payload(token: str) -> dict[str, Any] | None:
    """The second of a JWT's three parts, JSON in base64url (RFC 7515, 7.1).

    PyJWT reads it too, and brings all of ``cryptography`` with it, for signatures that are not verified.
    """
    try:
        _header, payload, _signature = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _instant(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (OverflowError, OSError, ValueError):
        return None
