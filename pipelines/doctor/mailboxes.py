"""What the attempts on the mailboxes mean, and what opens those that stay closed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.auth import Resource
from pipelines.config import MailboxConfig, Tenant
from pipelines.doctor import powershell
from pipelines.doctor.attempts import Attempt
from pipelines.doctor.coverage import LABELS, describe
from pipelines.doctor.findings import Area, Check, Finding
from pipelines.doctor.signin import SignIn
from pipelines.errors import MailboxRefusedError, UsageError
from pipelines.sources.base import ProtocolName

OPEN = {protocol: Check(Area.MAILBOXES, str(protocol)) for protocol in LABELS}
MUST_DENY = Check(Area.MAILBOXES, "must-deny")
READ_RECEIPTS = Check(Area.MAILBOXES, "read-receipts")
MAIL_FORMAT = Check(Area.MAILBOXES, "mail-format")
_UNKNOWN_ID = "<object id of the Enterprise application>"
_ATTENTION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the application is, as far as is known."""

    client_id: str
    object_id: str
    consented: tuple[str, ...] = ()
    """Roles in Graph's token that open the mail of every mailbox, beside or without RBAC."""


def identify(tenant: Tenant, sign_in: SignIn) -> Identity:
    """The ids for the commands."""
    graph = sign_in.claims.get(Resource.GRAPH)
    roles = graph.roles if graph else ()
    consented = tuple(role for role in roles if role.startswith("Mail.Read"))
    return Identity(tenant.client_id, sign_in.object_id or _UNKNOWN_ID, consented)


def judge(attempts: Sequence[Attempt], identity: Identity, on_graph: Collection[str]) -> Iterator[Finding]:
    """A finding for each attempt, and the coverage of each that went well.

    ``on_graph``: addresses that were moved to Graph, whatever their configuration began with.
    """
    for protocol, check in OPEN.items():
        tried = [each for each in attempts if each.protocol is protocol]
        opened = sum(each.error is None for each in tried)
        for each in tried:
            if each.error is None:
                yield check.ok(each.mailbox.address, "signed in, Inbox opened")
            else:
                finding = _closed(check, each, identity, opened, len(tried))
                yield finding if _feeds(each, on_graph) else _not_needed_now(check, each, finding)
    for each in attempts:
        if each.coverage:
            yield from describe(each.coverage, each.unmatched if _feeds(each, on_graph) else ())


def judge_denied(attempts: Sequence[Attempt], identity: Identity) -> Iterator[Finding]:
    """Mailboxes that must stay closed: a refusal is what is wanted."""
    for each in attempts:
        subject, label = each.mailbox.address, LABELS[each.protocol]
        if isinstance(each.error, MailboxRefusedError):
            yield MUST_DENY.ok(subject, f"{label} refuses it, as it must")
        elif isinstance(each.error, UsageError):
            yield MUST_DENY.skipped(subject, each.error.message.removeprefix(f"{subject}: "))
        elif each.error:
            told = each.error.message.removeprefix(f"{subject}: ")
            yield MUST_DENY.warning(
                subject, f"not tried over {label}: {told}", each.error.remedy or "try again later"
            )
        else:
            yield _open_though_denied(each, identity)


def advise(mailboxes: Sequence[MailboxConfig]) -> Iterator[Finding]:
    """Settings of legacy mailboxes that matter and cannot be seen over their protocol.

    Source: Microsoft, Set-CASMailbox.
    """
    for protocol, name in powershell.CAS_NAMES.items():
        address = next((each.address for each in mailboxes if each.legacy == protocol), None)
        if address is None:
            continue
        yield READ_RECEIPTS.skipped(
            f"{LABELS[protocol]} mailboxes",
            "whether a download sends a read receipt cannot be seen from here; by default it does, where the "
            "sender asked for one",
            "switch them off; `mailover setup` prints the line for every mailbox",
            [powershell.suppress_read_receipts(address, protocol)],
        )
        yield MAIL_FORMAT.skipped(
            f"{LABELS[protocol]} mailboxes",
            f"the form in which Exchange hands mail out cannot be seen from here: {name}MessagesRetrievalMime"
            f"Format other than BestBodyFormat changes it, and without {name}ForceICalForCalendarRetrieval"
            "Option a meeting request may come as a link",
            "look at the settings, and compare a meeting request with what Outlook shows",
            [powershell.show_protocol(address, protocol)],
        )


def _closed(check: Check, failed: Attempt, identity: Identity, opened: int, tried: int) -> Finding:
    error = failed.error
    assert error
    finding = check.failed(failed.mailbox.address, error, _commands(failed, identity, opened))
    if isinstance(error, MailboxRefusedError) and error.token_accepted is False and tried > 1:
        finding = _compared(finding, LABELS[failed.protocol], opened)
    return finding


def _feeds(tried: Attempt, on_graph: Collection[str]) -> bool:
    """Whether the mailbox must be readable over this protocol now."""
    moved = tried.mailbox.legacy is None or tried.mailbox.address in on_graph
    return tried.protocol == (ProtocolName.GRAPH if moved else tried.mailbox.legacy)


def _not_needed_now(check: Check, failed: Attempt, finding: Finding) -> Finding:
    """The other protocol's failure: it stops a switch, not the reading."""
    if isinstance(failed.error, UsageError):
        return check.skipped(finding.subject, finding.what)
    remedy = finding.remedy or "try again later"
    if failed.protocol is ProtocolName.GRAPH:
        what = "until that is mended the mailbox cannot be moved to Graph"
    else:
        what = f"until that is mended there is no way back to {LABELS[failed.protocol]}"
        remedy += "; if none is wanted, take legacy out of the mailbox in mailover.yaml"
    return check.warning(finding.subject, f"{finding.what}; {what}", remedy, finding.commands)


def _compared(finding: Finding, label: str, opened: int) -> Finding:
    """A server that refuses a sign-in gives no reason; how it treats the other mailboxes tells more."""
    if not opened:
        what = f"{finding.what}; no mailbox lets the application in, so look at its service principal first"
        return replace(finding, what=what)
    lets = "others let" if opened > 1 else "other lets"
    return replace(
        finding,
        what=f"{finding.what}; {opened:,} {lets} the application in, so its service principal is right",
        remedy=f"{label} is off for this mailbox: turn it on; if that changes nothing, grant FullAccess",
    )


def _commands(failed: Attempt, identity: Identity, opened: int) -> list[str]:
    error, address = failed.error, failed.mailbox.address
    if not isinstance(error, MailboxRefusedError):
        return []
    if failed.protocol is ProtocolName.GRAPH:
        if identity.consented:
            return [powershell.show_access_policy(identity.client_id, address)]
        return [
            powershell.show_authorization(identity.client_id, address),
            powershell.add_to_scope(address),
        ]
    user, lines = powershell.quote(identity.object_id), []
    if not error.token_accepted and not opened:
        lines += [
            powershell.find_service_principal(identity.client_id),
            powershell.register_service_principal(identity.client_id, user),
        ]
    lines.append(powershell.grant_mailbox(address, user))
    if not error.token_accepted:
        lines.append(powershell.enable_protocol(address, failed.protocol))
    return lines


def _open_though_denied(opened: Attempt, identity: Identity) -> Finding:
    address, protocol = opened.mailbox.address, opened.protocol
    if protocol is not ProtocolName.GRAPH:
        return MUST_DENY.failure(
            address,
            f"{LABELS[protocol]} opens it: the application has FullAccess to it",
            "take the permission away",
            [powershell.revoke_mailbox(address, powershell.quote(identity.object_id))],
            exit_code=_ATTENTION,
        )
    if identity.consented:
        roles = " and ".join(identity.consented)
        return MUST_DENY.failure(
            address,
            f"Graph opens it: the consent to {roles} in Entra covers every mailbox, whatever scope RBAC for "
            "Applications sets",
            "scope the role with RBAC for Applications (`mailover setup`), then withdraw the consent",
            powershell.withdraw_consent(identity.client_id, powershell.GRAPH, identity.consented),
            exit_code=_ATTENTION,
        )
    return MUST_DENY.failure(
        address,
        "Graph opens it: it is in the scope of the application's role in RBAC for Applications",
        "narrow the scope, or take the mailbox out of its group; changes may need two hours to be felt",
        [powershell.show_authorization(identity.client_id, address)],
        exit_code=_ATTENTION,
    )
