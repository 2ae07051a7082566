"""Whose turn it is: mailboxes that have waited longest come first, and in runs of a bounded size."""

from collections.abc import Iterable, Mapping
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

    With ``since`` also those of which no pass has ended from then on.
    """
    chosen = {each.address: each for each in mailboxes}
    return [
        chosen[address]
        for address, standing in longest_waiting(workspace.index).items()
        if address in chosen
        and (standing.last_error is not None or (since is not None and standing.ended_before(since)))
    ]


def batches(workspace: Workspace, in_hand: Mapping[str, datetime]) -> list[list[str]]:
    """The mailboxes whose turn it is, longest waiting first, cut into runs.

    ``in_hand``: mailboxes that a run has, and since when. It is not their turn, unless that run is
    done with them: it may go on for hours with a larger one.
    """
    configured = {each.address for each in workspace.config.mailboxes}
    addresses = [
        address
        for address, standing in longest_waiting(workspace.index).items()
        if address in configured and not (address in in_hand and standing.ended_before(in_hand[address]))
    ]
    return [list(some) for some in chunks(addresses, workspace.config.ingest.mailboxes_per_run)]
