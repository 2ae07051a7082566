"""The PowerShell that opens a tenant's mailboxes to the application, and that closes them again.

Sources: Microsoft, "Authenticate an IMAP, POP or SMTP connection using OAuth", "Role Based Access
Control for Applications in Exchange Online", and the reference pages of the cmdlets.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.config import Config, MailboxConfig
from pipelines.doctor import powershell as ps
from pipelines.doctor.coverage import LABELS
from pipelines.sources.base import ProtocolName

_ENVIRONMENTS = {
    "public": ("", ""),
    "us-gov-high": (" -Environment USGov", " -ExchangeEnvironmentName O365USGovGCCHigh"),
    "us-gov-dod": (" -Environment USGovDoD", " -ExchangeEnvironmentName O365USGovDoD"),
    "china": (" -Environment China", " -ExchangeEnvironmentName O365China"),
}
"""What Connect-MgGraph and Connect-ExchangeOnline call each cloud."""
_ROLE, _ASSIGNMENT = "Application Mail.Read", "Mailover Mail.Read"
_PRINCIPAL = "$principal.Identity"
_WIDTH = 100
"""Of the remarks; commands are never broken."""


@dataclass(frozen=True, slots=True)
class Command:
    """One line of PowerShell."""

    line: str
    mailbox: str | None = None
    """The mailbox it is about, where it is about one."""


@dataclass(frozen=True, slots=True)
class Step:
    """What belongs together, and why it is needed."""

    title: str
    note: str
    commands: tuple[Command, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """The commands for a script."""
        return [{"step": self.title, "command": each.line, "mailbox": each.mailbox} for each in self.commands]


def open_mailboxes(config: Config, mailboxes: Sequence[MailboxConfig]) -> list[Step]:
    """What lets the application read ``mailboxes``, over their legacy protocols and over Graph.

    Everything may be run again, for instance after mailboxes were added.
    """
    legacy = _legacy(mailboxes)
    return [
        _connect(config),
        _register(config),
        *([_consent(config, legacy), *_allow(legacy)] if legacy else []),
        _scope(mailboxes),
        _prove(mailboxes),
    ]


def close_mailboxes(config: Config, mailboxes: Sequence[MailboxConfig]) -> list[Step]:
    """What takes IMAP and POP3 away from ``mailboxes`` again once Graph feeds them for good.

    A role is withdrawn only with the last configured mailbox of its protocol.
    """
    legacy = _legacy(mailboxes)
    return [_connect(config), _register(config), *_forbid(legacy), *_withdraw(config, legacy)]


def script(steps: Sequence[Step], heading: Sequence[str]) -> str:
    """The steps as a PowerShell script."""
    parts = ["".join(f"# {line}\n" for line in heading)]
    for number, step in enumerate(steps, 1):
        note = textwrap.wrap(step.note, _WIDTH, initial_indent="#    ", subsequent_indent="#    ")
        parts.append(
            "\n".join([f"# {number}. {step.title}", *note, *(each.line for each in step.commands)]) + "\n"
        )
    return "\n".join(parts)


def _legacy(mailboxes: Sequence[MailboxConfig]) -> dict[ProtocolName, list[str]]:
    """The addresses by legacy protocol."""
    found: dict[ProtocolName, list[str]] = {}
    for mailbox in mailboxes:
        if mailbox.legacy:
            found.setdefault(ProtocolName(mailbox.legacy), []).append(mailbox.address)
    return found


def _connect(config: Config) -> Step:
    graph, exchange = _ENVIRONMENTS[config.tenant.cloud]
    return Step(
        "Connect",
        "Needs the modules Microsoft.Graph.Applications and ExchangeOnlineManagement, and an administrator "
        "who may consent to application permissions and manage Exchange.",
        (
            Command(
                f"Connect-MgGraph -TenantId {ps.quote(config.tenant.id)}{graph} "
                "-Scopes 'Application.Read.All', 'AppRoleAssignment.ReadWrite.All'"
            ),
            Command(f"Connect-ExchangeOnline{exchange}"),
        ),
    )


def _register(config: Config) -> Step:
    client_id = config.tenant.client_id
    known = f"Get-ServicePrincipal | Where-Object AppId -EQ {ps.quote(client_id)}"
    made = ps.register_service_principal(client_id, "$app.Id")
    wrong = (
        "Exchange knows the application by a wrong object id: Remove-ServicePrincipal, then run this again"
    )
    return Step(
        "The application's service principal in Exchange",
        "Its object id is the one under Enterprise applications. With the one under App registrations "
        "every sign-in over IMAP and POP3 fails without saying why.",
        (
            Command(ps.find_application(client_id)),
            Command("if (-not $app) { throw 'No Enterprise application: check tenant.client_id' }"),
            Command(f"$principal = {known}"),
            Command(f"if (-not $principal) {{ $principal = {made} }}"),
            Command(f"if ($principal.ObjectId -ne $app.Id) {{ throw '{wrong}' }}"),
        ),
    )


def _consent(config: Config, legacy: dict[ProtocolName, list[str]]) -> Step:
    lines = ps.consent(config.tenant.client_id, [ps.ROLES[protocol] for protocol in legacy])
    return Step(
        "Consent to the application roles of Office 365 Exchange Online",
        "A role that the application holds already is reported as an error, which can be ignored. Security "
        "defaults of Entra block IMAP and POP3; Conditional Access can take their place.",
        tuple(Command(line) for line in lines[1:]),
    )


def _allow(legacy: dict[ProtocolName, list[str]]) -> Iterator[Step]:
    for protocol, addresses in legacy.items():
        yield Step(
            f"{LABELS[protocol]}: let the application into {_count(addresses)}",
            "Downloads send read receipts unless they are suppressed, which needs the protocol's defaults "
            "off. The settings hold for every program that reads the mailbox over this protocol.",
            tuple(
                Command(line, address)
                for address in addresses
                for line in (
                    ps.grant_mailbox(address, _PRINCIPAL),
                    ps.prepare_protocol(address, protocol),
                )
            ),
        )


def _scope(mailboxes: Sequence[MailboxConfig]) -> Step:
    group = ps.quote(ps.GROUP)
    name_is = f"Where-Object Name -EQ {group}"
    restriction = """\"MemberOfGroup -eq '$($group.DistinguishedName -replace "'", "''")'\""""
    return Step(
        f"Graph: RBAC for Applications opens {_count(mailboxes)} to the application, and no other",
        "Do not consent to Mail.Read of Microsoft Graph in Entra, and withdraw it where it was given: a "
        "consent holds for every mailbox, and no scope limits it. Only direct members of the group count. A "
        "mailbox that is in the group already is reported as an error, which can be ignored.",
        (
            Command(f"$group = Get-DistributionGroup -ResultSize Unlimited | {name_is}"),
            Command(f"if (-not $group) {{ $group = New-DistributionGroup -Name {group} -Type Security }}"),
            *(Command(ps.add_to_scope(each.address), each.address) for each in mailboxes),
            Command(
                f"if (-not (Get-ManagementScope | {name_is})) "
                f"{{ New-ManagementScope -Name {group} -RecipientRestrictionFilter {restriction} }}"
            ),
            Command(
                f"if (-not (Get-ManagementRoleAssignment | Where-Object Name -EQ '{_ASSIGNMENT}')) "
                f"{{ New-ManagementRoleAssignment -Name '{_ASSIGNMENT}' -App $app.Id -Role '{_ROLE}' "
                f"-CustomResourceScope {group} }}"
            ),
        ),
    )


def _prove(mailboxes: Sequence[MailboxConfig]) -> Step:
    first = ps.quote(mailboxes[0].address)
    return Step(
        "See what came of it",
        "InScope must be True. The service itself may need up to two hours; then run mailover doctor. After "
        "the cutover, mailover setup --after-cutover prints what takes IMAP and POP3 away again.",
        (Command(f"Test-ServicePrincipalAuthorization -Identity $app.Id -Resource {first} | Format-Table"),),
    )


def _forbid(legacy: dict[ProtocolName, list[str]]) -> Iterator[Step]:
    for protocol, addresses in legacy.items():
        label = LABELS[protocol]
        yield Step(
            f"{label}: close {_count(addresses)}",
            "Only when the way back is no longer wanted and the comparison after the cutover is over: both "
            f"need it. The second line of each mailbox shuts {label} for every program; leave it out where "
            "another one reads the mailbox.",
            tuple(
                Command(line, address)
                for address in addresses
                for line in (
                    ps.revoke_mailbox(address, _PRINCIPAL),
                    ps.disable_protocol(address, protocol),
                )
            ),
        )


def _withdraw(config: Config, legacy: dict[ProtocolName, list[str]]) -> Iterator[Step]:
    everywhere = _legacy(config.mailboxes)
    for protocol, addresses in legacy.items():
        role, left = ps.ROLES[protocol], len(everywhere[protocol]) - len(addresses)
        lines = ps.withdraw_consent(config.tenant.client_id, ps.EXCHANGE_ONLINE, [role])
        yield Step(
            f"Withdraw the application role {role}",
            f"Not yet: {left:,} more of the configured mailboxes are on {LABELS[protocol]}." if left else "",
            () if left else tuple(Command(line) for line in lines[1:]),
        )


def _count(mailboxes: Sequence[object]) -> str:
    return f"{len(mailboxes):,} mailbox{'es' if len(mailboxes) != 1 else ''}"
