"""PowerShell lines for Exchange Online, with the tenant's own ids and addresses in them.

Source of the cmdlets and their parameters: Microsoft, "Exchange PowerShell" reference, and
"Authenticate an IMAP, POP or SMTP connection using OAuth".
"""

import re
from collections.abc import Iterable

from pipelines.sources.base import ProtocolName

_QUOTES = re.compile("['‘’‚‛]")
"""Every one of these ends a text that began with a single quote."""
ROLES = {ProtocolName.IMAP: "IMAP.AccessAsApp", ProtocolName.POP3: "POP.AccessAsApp"}
"""The roles of Office 365 Exchange Online that open a legacy protocol."""
CAS_NAMES = {ProtocolName.IMAP: "Imap", ProtocolName.POP3: "Pop"}
"""What Set-CASMailbox calls a protocol."""
EXCHANGE_ONLINE = "00000002-0000-0ff1-ce00-000000000000"
GRAPH = "00000003-0000-0000-c000-000000000000"
"""The application ids of Office 365 Exchange Online and of Microsoft Graph, in every tenant."""
GROUP = "Mailover mailboxes"
"""The mail-enabled security group of the mailboxes that Graph may open, and the scope made of it."""


def quote(text: str) -> str:
    """``text`` as a PowerShell literal in which nothing is expanded."""
    return f"'{_QUOTES.sub(lambda found: found[0] * 2, text)}'"


def find_application(client_id: str) -> str:
    """Set ``$app`` to the Enterprise application."""
    return f'$app = Get-MgServicePrincipal -Filter "appId eq {quote(client_id)}"'


def consent(client_id: str, roles: Iterable[str]) -> list[str]:
    """Grant application roles of Office 365 Exchange Online, in Microsoft Graph PowerShell."""
    return [
        find_application(client_id),
        _find_resource(EXCHANGE_ONLINE),
        *(
            "New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $app.Id -PrincipalId $app.Id "
            f"-ResourceId $api.Id -AppRoleId {_role_id(role)}"
            for role in roles
        ),
    ]


def withdraw_consent(client_id: str, resource: str, roles: Iterable[str]) -> list[str]:
    """Take application roles of ``resource`` away again."""
    return [
        find_application(client_id),
        _find_resource(resource),
        *(
            "Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $app.Id -All "
            f"| Where-Object AppRoleId -EQ {_role_id(role)} "
            "| ForEach-Object { Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $app.Id "
            "-AppRoleAssignmentId $_.Id }"
            for role in roles
        ),
    ]


def _find_resource(application_id: str) -> str:
    return f'$api = Get-MgServicePrincipal -Filter "appId eq {quote(application_id)}"'


def _role_id(role: str) -> str:
    return f"($api.AppRoles | Where-Object Value -EQ {quote(role)}).Id"


def register_service_principal(client_id: str, object_id: str) -> str:
    """Make the application known to Exchange; ``object_id`` is an expression (see ``grant_mailbox``)."""
    return f"New-ServicePrincipal -AppId {quote(client_id)} -ObjectId {object_id} -DisplayName 'Mailover'"


def find_service_principal(client_id: str) -> str:
    """Show what Exchange knows of the application.

    By a filter: ``-Identity`` with a value that is not there returns every service principal.
    """
    return f"Get-ServicePrincipal | Where-Object AppId -EQ {quote(client_id)} | Format-List AppId, ObjectId"


def grant_mailbox(address: str, user: str) -> str:
    """Open a mailbox to IMAP and POP3; ``user`` is a PowerShell expression for the service principal."""
    return f"Add-MailboxPermission -Identity {quote(address)} -User {user} -AccessRights FullAccess"


def revoke_mailbox(address: str, user: str) -> str:
    """Take that back."""
    return (
        f"Remove-MailboxPermission -Identity {quote(address)} -User {user} -AccessRights FullAccess "
        "-Confirm:$false"
    )


def enable_protocol(address: str, protocol: ProtocolName) -> str:
    """Allow a legacy protocol for a mailbox."""
    return _set_protocol(address, f"-{CAS_NAMES[protocol]}Enabled $true")


def disable_protocol(address: str, protocol: ProtocolName) -> str:
    """Forbid it, to every program."""
    return _set_protocol(address, f"-{CAS_NAMES[protocol]}Enabled $false")


def suppress_read_receipts(address: str, protocol: ProtocolName) -> str:
    """Let no download tell a sender that the mail was read."""
    return _set_protocol(address, _no_receipts(protocol))


def prepare_protocol(address: str, protocol: ProtocolName) -> str:
    """Both: allow the protocol, and suppress its read receipts."""
    return f"{enable_protocol(address, protocol)} {_no_receipts(protocol)}"


def _set_protocol(address: str, settings: str) -> str:
    return f"Set-CASMailbox -Identity {quote(address)} {settings}"


def _no_receipts(protocol: ProtocolName) -> str:
    # The second setting counts only with the first one off.
    name = CAS_NAMES[protocol]
    return f"-{name}UseProtocolDefaults $false -{name}SuppressReadReceipt $true"


def show_protocol(address: str, protocol: ProtocolName) -> str:
    """Show a mailbox's settings for a legacy protocol."""
    return f"Get-CASMailbox -Identity {quote(address)} | Format-List {CAS_NAMES[protocol]}*"


def add_to_scope(address: str) -> str:
    """Open a mailbox to Graph by putting it into the group that the scope is made of."""
    return f"Add-DistributionGroupMember -Identity {quote(GROUP)} -Member {quote(address)}"


def show_authorization(client_id: str, address: str) -> str:
    """Show what RBAC for Applications lets the application do with a mailbox, without its cache."""
    return f"Test-ServicePrincipalAuthorization -Identity {quote(client_id)} -Resource {quote(address)}"


def show_access_policy(client_id: str, address: str) -> str:
    """Show whether an application access policy keeps the application out of a mailbox."""
    return f"Test-ApplicationAccessPolicy -AppId {quote(client_id)} -Identity {quote(address)}"
