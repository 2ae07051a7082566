"""Whose turn it is: mailboxes that have waited longest come first, and in runs of a bounded size."""

from collections.abc import Collection, Iterable
from datetime import datetime

from pipelines.config import MailboxConfig
from pipelines.index.lookup import chunks
from pipelines.index.mailboxes import longest_waiting
from pipelines.ingest.workspace import Workspace


def in_turn(workspace: Workspace, mailboxes: Iterable[MailboxConfig]) -> list[MailboxConfig]:
    """The mailboxes, longest waiting first; those never read to their end before all others."""
    chosen = {each.address: each for each in mailboxes}
    return [chosen[address] for address in longest_waiting(workspace.index) if address in chosen]


def left_undone(
    workspace: Workspace, mailboxes: Iterable[MailboxConfig], since: datetime | None = None
) -> list[MailboxConfig]:
    """Those whose last pass failed or left something undone, longest waiting first.

    With ``since`` also those that have not been read to their end from then on.
    """
    chosen = {each.address: each for each in mailboxes}
    return [
        chosen[address]
        for address, standing in longest_waiting(workspace.index).items()
        if address in chosen
        and (
            standing.last_error is not None
            or (since is not None and (standing.last_pass_at is None or standing.last_pass_at < since))
        )
    ]


def batches(workspace: Workspace, in_hand: Collection[str]) -> list[list[str]]:
    """Every mailbox that is not in some run's hand already, longest waiting first, cut into runs."""
    mailboxes = [each for each in workspace.config.mailboxes if each.address not in in_hand]
    addresses = [each.address for each in in_turn(workspace, mailboxes)]
    return [list(some) for some in chunks(addresses, workspace.config.ingest.mailboxes_per_run)]
