"""A mailbox's pass on its way to Graph: fed by one protocol, compared with the other, graded."""

import dataclasses

from pipelines.config import MailboxConfig
from pipelines.cutover.parity import Grade, compare
from pipelines.cutover.phases import Phase, compared_protocol
from pipelines.errors import LeaseLostError, UsageError
from pipelines.index.journal import phase_row
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import keys_of_message_ids, rest_on_listing
from pipelines.index.parity import Parity, newest_parities, record_parity
from pipelines.ingest.passes import (
    MailboxPass,
    Progress,
    as_mailover_error,
    contained,
    feeding_protocol,
    no_progress,
)
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.lake.parity import replace_parity
from pipelines.sources.base import ProtocolName

_TRIES = 2
"""Comparisons before a difference is believed: mail moves while it is being looked at."""


def read_mailbox(
    workspace: Workspace, mailbox: MailboxConfig, progress: Progress = no_progress
) -> MailboxReport:
    """One pass as the mailbox's phase says: fed, and compared where the phase compares.

    Failures are in the report. A comparison that cannot be made fails nothing: the mailbox
    is fed all the same.
    """
    report = MailboxReport(mailbox.address, feeding_protocol(workspace, mailbox))
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        # The phase may have changed until the lease was had.
        report.protocol = feeding_protocol(workspace, mailbox)
        one = MailboxPass(workspace, mailbox, lease, report, progress)
        one.feed()
        row = phase_row(workspace.index, mailbox.address)
        other = compared_protocol(workspace.config, mailbox, row, workspace.clock.now())
        if other:
            try:
                compare_under_lease(workspace, mailbox, lease, one, other)
            except LeaseLostError:
                raise
            except Exception as error:  # noqa: BLE001 - said in the report
                report.compare_errors[""] = as_mailover_error(error)
        if report.compare_errors or (report.parity and report.parity.grade in _UNEASY):
            report.outcome = Outcome.ATTENTION
    return report


def compare_now(
    workspace: Workspace, mailbox: MailboxConfig, progress: Progress = no_progress
) -> MailboxReport:
    """A pass with a comparison in any phase. Raises ``UsageError`` where there is nothing to compare with."""
    if mailbox.legacy is None:
        raise UsageError(
            f"{mailbox.address} has no legacy protocol in the configuration: nothing to compare with",
            remedy="set legacy: imap or pop3 for it in mailover.yaml, or leave it out of the command",
        )
    report = MailboxReport(mailbox.address, feeding_protocol(workspace, mailbox))
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        report.protocol = feeding_protocol(workspace, mailbox)
        one = MailboxPass(workspace, mailbox, lease, report, progress)
        one.feed()
        legacy = ProtocolName(mailbox.legacy)
        other = ProtocolName.GRAPH if report.protocol == legacy else legacy
        compare_under_lease(workspace, mailbox, lease, one, other)
    return report


_UNEASY = (Grade.INVESTIGATE, Grade.POOR)


def compare_under_lease(
    workspace: Workspace, mailbox: MailboxConfig, lease: Lease, one: MailboxPass, other: ProtocolName
) -> Parity | None:
    """Read ``other`` beside what feeds the lake, grade both, and keep the result.

    None where a folder of either side could not be read to its end: nothing is proven then,
    and nothing recorded. Raises what reading raises.
    """
    assert mailbox.legacy
    legacy = ProtocolName(mailbox.legacy)
    report = one.report
    phase = Phase.GRAPH if other is legacy else Phase.SHADOW
    doubted: set[str] = set()
    for left in reversed(range(_TRIES)):
        report.compare_errors.clear()
        one.compare(other, workspace.config.cutover.share, doubted)
        if report.compare_errors or report.folder_errors:
            return None
        with workspace.index.read() as connection:
            parity = compare(connection, lease.mailbox_id, legacy, phase, workspace.clock.now())
        doubted = _doubted(workspace, lease, parity)
        settled = parity.grade not in _UNEASY or _known(workspace, lease, parity)
        if not left or (settled and not doubted):
            break
        one.feed(doubted)
    record_parity(workspace.index, lease, parity)
    differences = [dataclasses.asdict(each) for each in parity.differences]
    replace_parity(workspace.lake, mailbox.address, parity.at, parity.grade, differences)
    report.parity = parity
    return parity


def _doubted(workspace: Workspace, lease: Lease, parity: Parity) -> set[str]:
    """Messages that differ, and those of the same Message-ID, if any match of them rests on a listing.

    A listing does not tell everything: for these the bytes have to decide.
    """
    named = [each.message_id for each in parity.differences if each.message_id]
    keys = {each.message_key for each in parity.differences if each.message_key}
    with workspace.index.read() as connection:
        keys |= keys_of_message_ids(connection, lease.mailbox_id, named)
        trusted = rest_on_listing(
            connection, lease.mailbox_id, (parity.legacy, ProtocolName.GRAPH), list(keys)
        )
    return keys if trusted else set()


def _known(workspace: Workspace, lease: Lease, parity: Parity) -> bool:
    """Whether the last comparison found the same: another look would find it a third time."""
    before = newest_parities(workspace.index, lease.mailbox_id, 1)
    items = {each.item for each in parity.differences}
    return bool(before) and items == {each.item for each in before[0].differences}
