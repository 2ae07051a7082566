"""What a mailbox that stays closed means, which line opens it, and what is said of coverage."""

import pytest

from pipelines.config import FolderRules, MailboxConfig
from pipelines.doctor.attempts import Attempt
from pipelines.doctor.coverage import cover, describe, describe_unreachable, unmatched_rules
from pipelines.doctor.findings import Finding, State
from pipelines.doctor.mailboxes import Identity, advise, judge, judge_denied
from pipelines.errors import ConnectionLostError, MailboxRefusedError, MailoverError, UsageError
from pipelines.sources.base import Folder, ProtocolName, Role
from tests.doctor.conftest import KIM, LEE

IMAP, POP3, GRAPH = ProtocolName.IMAP, ProtocolName.POP3, ProtocolName.GRAPH
SCOPED = Identity("client-id", "object-id")
CONSENTED = Identity("client-id", "object-id", ("Mail.ReadWrite",))
FOLDERS = [
    Folder("Inbox", Role.INBOX, "INBOX"),
    Folder("Projects", Role.OTHER, "Projects"),
    Folder("Projects/Köln", Role.OTHER, "Projects/K&APY-ln"),
    Folder("Junk Email", Role.JUNK, "Junk Email"),
    Folder("Calendar", Role.OTHER, "Calendar", skipped="non-mail"),
]


def tried(
    protocol: ProtocolName,
    error: MailoverError | None = None,
    address: str = KIM,
    legacy: str | None = "imap",
) -> Attempt:
    return Attempt(MailboxConfig.model_validate({"address": address, "legacy": legacy}), protocol, error)


def judged(
    *attempts: Attempt, identity: Identity = SCOPED, on_graph: frozenset[str] = frozenset()
) -> Finding:
    """What is said of the last attempt's protocol and mailbox."""
    wanted = (str(attempts[-1].protocol), attempts[-1].mailbox.address)
    (found,) = [each for each in judge(attempts, identity, on_graph) if (each.check, each.subject) == wanted]
    return found


def refused(token_accepted: bool | None = None, address: str = KIM) -> MailboxRefusedError:
    return MailboxRefusedError(f"{address}: refused", remedy="grant it", token_accepted=token_accepted)


def test_a_mailbox_behind_an_accepted_token_needs_full_access() -> None:
    found = judged(tried(IMAP, refused(True)))
    assert (found.state, found.exit_code, found.what) == (State.FAILURE, 3, "refused")
    assert found.commands == (
        f"Add-MailboxPermission -Identity '{KIM}' -User 'object-id' -AccessRights FullAccess",
    )


def test_a_refused_sign_in_everywhere_points_at_the_service_principal() -> None:
    found = judged(tried(IMAP, refused(False, LEE), LEE), tried(IMAP, refused(False)))
    assert "no mailbox lets the application in" in found.what
    assert [line.split()[0] for line in found.commands] == [
        "Get-ServicePrincipal",
        "New-ServicePrincipal",
        "Add-MailboxPermission",
        "Set-CASMailbox",
    ]
    assert "-AppId 'client-id' -ObjectId 'object-id'" in found.commands[1]


def test_a_refused_sign_in_beside_mailboxes_that_open_points_at_the_mailbox() -> None:
    found = judged(tried(POP3, None, LEE, "pop3"), tried(POP3, refused(False), legacy="pop3"))
    assert "1 other lets the application in" in found.what
    assert found.commands[-1] == f"Set-CASMailbox -Identity '{KIM}' -PopEnabled $true"
    assert not any("ServicePrincipal" in line for line in found.commands)


def test_a_refusal_without_a_reason_brings_every_line() -> None:
    assert len(judged(tried(POP3, refused(), legacy="pop3")).commands) == 4


@pytest.mark.parametrize(
    ("identity", "commands"),
    [
        (SCOPED, ["Test-ServicePrincipalAuthorization", "Add-DistributionGroupMember"]),
        (CONSENTED, ["Test-ApplicationAccessPolicy"]),
    ],
)
def test_graph_refused_is_a_warning_before_the_switch_and_a_failure_after(
    identity: Identity, commands: list[str]
) -> None:
    before = judged(tried(GRAPH, refused()), identity=identity)
    assert (before.state, before.exit_code) == (State.WARNING, 1)
    assert "cannot be moved to Graph" in before.what
    assert [line.split()[0] for line in before.commands] == commands
    started_there = judged(tried(GRAPH, refused(), legacy=None), identity=identity)
    moved_there = judged(tried(GRAPH, refused()), identity=identity, on_graph=frozenset({KIM}))
    assert (started_there.state, moved_there.state) == (State.FAILURE, State.FAILURE)


def test_the_legacy_protocol_of_a_moved_mailbox_is_the_way_back() -> None:
    found = judged(tried(IMAP, refused(True)), on_graph=frozenset({KIM}))
    assert (found.state, "no way back to IMAP" in found.what) == (State.WARNING, True)


def test_a_protocol_that_cannot_be_read_yet_is_no_fault_of_the_mailbox() -> None:
    error = UsageError(f"{KIM}: cannot read it yet", remedy="another protocol")
    assert judged(tried(GRAPH, error)).state is State.SKIPPED
    feeding = judged(tried(GRAPH, error, legacy=None))
    assert (feeding.state, feeding.exit_code) == (State.FAILURE, 2)


@pytest.mark.parametrize(
    ("attempt", "state", "exit_code"),
    [
        (tried(IMAP, refused(True)), State.OK, 0),
        (tried(IMAP, ConnectionLostError("lost")), State.WARNING, 1),
        (tried(GRAPH, UsageError("not yet")), State.SKIPPED, 0),
        (tried(IMAP), State.FAILURE, 1),
        (tried(GRAPH), State.FAILURE, 1),
    ],
)
def test_a_mailbox_that_must_be_denied(attempt: Attempt, state: State, exit_code: int) -> None:
    (found,) = judge_denied([attempt], SCOPED)
    assert (found.state, found.exit_code) == (state, exit_code)


def test_a_consent_that_undoes_the_scope_is_named_with_what_withdraws_it() -> None:
    (found,) = judge_denied([tried(GRAPH)], CONSENTED)
    assert "consent to Mail.ReadWrite in Entra covers every mailbox" in found.what
    assert "'Mail.ReadWrite'" in found.commands[-1]
    assert "Remove-MgServicePrincipalAppRoleAssignment" in found.commands[-1]
    (found,) = judge_denied([tried(GRAPH)], SCOPED)
    assert "in the scope" in found.what


def test_advice_is_given_once_for_each_legacy_protocol_in_use() -> None:
    mailboxes = [
        tried(protocol, None, f"user{number}@contoso.com", protocol).mailbox
        for number, protocol in enumerate((IMAP, IMAP, POP3))
    ]
    given = list(advise(mailboxes))
    assert [(each.check, each.subject) for each in given] == [
        ("read-receipts", "IMAP mailboxes"),
        ("mail-format", "IMAP mailboxes"),
        ("read-receipts", "POP3 mailboxes"),
        ("mail-format", "POP3 mailboxes"),
    ]
    assert "-ImapUseProtocolDefaults $false -ImapSuppressReadReceipt $true" in given[0].commands[0]
    assert not list(advise([tried(GRAPH, legacy=None).mailbox]))


def test_coverage_names_what_is_read_and_why_the_rest_is_not() -> None:
    mailbox = MailboxConfig(address=KIM, legacy="imap", folders=FolderRules(exclude=("junk",)))
    covered = cover(mailbox, IMAP, FOLDERS)
    assert covered.read == ("Inbox", "Projects", "Projects/Köln")
    assert dict(covered.skipped) == {"Junk Email": "excluded by the configuration", "Calendar": "non-mail"}
    assert {what for what, _why in covered.unreachable} >= {"in-place archive", "Recoverable Items"}
    (found,) = describe(covered, ())
    assert found.what == (
        "IMAP reads 3 of 5 folders; not Junk Email (excluded by the configuration); not Calendar (non-mail)"
    )


@pytest.mark.parametrize(("protocol", "out_of_reach"), [(IMAP, True), (POP3, True), (GRAPH, False)])
def test_hidden_folders_are_out_of_reach_of_the_legacy_protocols(
    protocol: ProtocolName, out_of_reach: bool
) -> None:
    assert ("hidden folders" in describe_unreachable(protocol).what) == out_of_reach


def test_pop3_says_that_it_shows_the_inbox_only() -> None:
    assert "every folder but the Inbox" in describe_unreachable(POP3).what


def test_rules_that_name_no_folder_are_found() -> None:
    rules = FolderRules(include=("inbox", "projects/KÖLN"), exclude=("Deletd Items", "archive", "Projects"))
    assert unmatched_rules(rules, FOLDERS) == ("Deletd Items", "archive")


def test_rules_that_leave_nothing_are_a_failure() -> None:
    mailbox = MailboxConfig(address=KIM, legacy="imap", folders=FolderRules(include=("Inbx",)))
    found = list(describe(cover(mailbox, IMAP, FOLDERS), ("Inbx",)))
    assert [(each.check, each.state, each.exit_code) for each in found] == [
        ("folder-rules", State.WARNING, 1),
        ("folder-rules", State.FAILURE, 2),
    ]


def test_a_long_list_of_folders_is_cut() -> None:
    many = [Folder(f"Folder {number}", Role.OTHER, f"{number}", skipped="non-mail") for number in range(30)]
    (found,) = describe(cover(MailboxConfig(address=KIM), IMAP, [*FOLDERS, *many]), ())
    assert "and 23 more (non-mail)" in found.what
