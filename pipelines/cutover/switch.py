"""Moving a mailbox from phase to phase: proven before, one transaction, written in the journal."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.config import MailboxConfig
from pipelines.cutover.parity import Grade, may_switch, open_items
from pipelines.cutover.passes import compare_under_lease
from pipelines.cutover.phases import Phase
from pipelines.errors import MailoverError, UsageError
from pipelines.index.journal import PhaseRow, Transition, flip, phase_row
from pipelines.index.lease import Lease, hold
from pipelines.index.parity import Parity, accepted
from pipelines.ingest.ownership import record_claim
from pipelines.ingest.passes import MailboxPass, Progress, as_mailover_error, no_progress
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.stages import side_by_side
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import ProtocolName


class Result(StrEnum):
    """What became of a switch that was asked for."""

    DONE = "done"
    UNCHANGED = "unchanged"
    """The mailbox is in that phase already."""
    REFUSED = "refused"
    """It may not be done now; ``why`` says what is missing."""
    FAILED = "failed"
    """It could not be tried to its end; nothing was changed."""
    WOULD = "would"
    """A dry run: it would be done."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of phase that was asked for, and its outcome."""

    mailbox: str
    phase_from: Phase
    phase_to: Phase
    result: Result
    why: str
    parity: Parity | None = None
    error: MailoverError | None = None
    """What failed, for ``Result.FAILED``."""

    def to_json(self) -> dict[str, Any]:
        """The switch as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "phase_from": self.phase_from,
            "phase_to": self.phase_to,
            "result": self.result,
            "why": str(self.error) if self.error else self.why,
            "grade": self.parity.grade if self.parity else None,
            "differences": len(self.parity.differences) if self.parity else None,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants which phase, and why."""

    to: Phase
    actor: str
    reason: str
    dry_run: bool = False


def switch(
    workspace: Workspace, mailbox: MailboxConfig, order: Order, progress: Progress = no_progress
) -> Switch:
    """Bring a mailbox into the phase that is ordered, or say why not.

    The order of things (each under the mailbox's lease): the protocol that is to feed is
    signed in to and read; before Graph takes over, the last legacy round, Graph's round and
    their parity; then one transaction flips the phase and writes the journal. A crash before
    it leaves everything as it was, one after it has nothing left to do. Cursors of both
    protocols stay.

    Raises ``UsageError`` for a mailbox without a legacy protocol, ``LeaseHeldError`` where
    another run has the mailbox, ``LakeMismatchError`` where the lake is another index's, and
    what reading the mailbox raises.
    """
    if mailbox.legacy is None and order.to is not Phase.GRAPH:
        raise UsageError(
            f"{mailbox.address} has no legacy protocol in the configuration: it is read by Graph only",
            remedy="set legacy: imap or pop3 for it in mailover.yaml",
        )
    with hold(workspace.index, mailbox.address, workspace.clock) as lease:
        # This looks whether the lake is this index's: a new index knows nothing of the phase.
        report = MailboxReport(mailbox.address, mailbox.legacy or ProtocolName.GRAPH)
        one = MailboxPass(workspace, mailbox, lease, report, progress)
        row = phase_row(workspace.index, mailbox.address)
        if row.phase == order.to:
            return _outcome(mailbox, row, order, Result.UNCHANGED, f"it is in phase {order.to} already")
        if row.phase == Phase.LEGACY and order.to is Phase.GRAPH:
            why = "it has not been compared yet: `mailover cutover … --to shadow` comes first"
            return _outcome(mailbox, row, order, Result.REFUSED, why)
        if order.to is Phase.GRAPH:
            return _to_graph(workspace, mailbox, lease, row, order, one)
        _must_be_readable(workspace, mailbox, _needed(mailbox, order.to))
        return _flip(workspace, mailbox, lease, row, order)


def switch_all(
    workspace: Workspace, mailboxes: Sequence[MailboxConfig], order: Order, progress: Progress = no_progress
) -> Iterator[Switch]:
    """``switch`` for each mailbox, side by side; one that fails is said in its outcome and stops no other.

    Raises ``UsageError`` for an order that a mailbox cannot take.
    """
    yield from side_by_side(workspace, mailboxes, lambda each: _contained(workspace, each, order, progress))


def _contained(workspace: Workspace, mailbox: MailboxConfig, order: Order, progress: Progress) -> Switch:
    try:
        return switch(workspace, mailbox, order, progress)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - one mailbox must not stop the others
        failure = as_mailover_error(error)
    now = Phase(phase_row(workspace.index, mailbox.address).phase)
    return Switch(mailbox.address, now, order.to, Result.FAILED, failure.message, error=failure)


def _needed(mailbox: MailboxConfig, to: Phase) -> list[ProtocolName]:
    """Protocols that the phase reads, and that have to be open before it begins."""
    assert mailbox.legacy
    legacy = ProtocolName(mailbox.legacy)
    return [legacy, ProtocolName.GRAPH] if to is Phase.SHADOW else [legacy]


def _must_be_readable(workspace: Workspace, mailbox: MailboxConfig, protocols: list[ProtocolName]) -> None:
    """Sign in and read the folders, for each; a token alone proves nothing."""
    for protocol in protocols:
        with closing(workspace.open_source(mailbox, protocol)) as source:
            folders = [each for each in source.folders() if not each.skipped]
            if not folders:
                raise MailoverError(
                    f"{mailbox.address}: {protocol} shows no folder to read",
                    remedy="check the mailbox's folders rules and its permissions with `mailover doctor`",
                )
            source.count(folders[0])


def _to_graph(
    workspace: Workspace,
    mailbox: MailboxConfig,
    lease: Lease,
    row: PhaseRow,
    order: Order,
    one: MailboxPass,
) -> Switch:
    _must_be_readable(workspace, mailbox, [ProtocolName.GRAPH])
    one.feed()
    parity = compare_under_lease(workspace, mailbox, lease, one, ProtocolName.GRAPH)
    if parity is None:
        failed = {**one.report.folder_errors, **one.report.compare_errors}
        path, error = next(iter(failed.items()))
        why = f"{len(failed)} folders could not be read to their end, such as {path}: {error.message}"
        return _outcome(mailbox, row, order, Result.REFUSED, why)
    words = accepted(workspace.index, lease.mailbox_id)
    if not may_switch(parity, words):
        return _outcome(mailbox, row, order, Result.REFUSED, _refusal(parity, list(words)), parity)
    return _flip(workspace, mailbox, lease, row, order, parity)


def _refusal(parity: Parity, accepted_items: list[str]) -> str:
    if parity.grade == Grade.POOR:
        missing = [each for each in parity.differences if each.kind == "missing-in-graph"]
        named = ", ".join(each.message_id or each.legacy_id or each.folder for each in missing[:3])
        return f"parity is poor: Graph lacks {len(missing)} messages of {parity.legacy}, such as {named}"
    open_ = open_items(parity, accepted_items)
    return (
        f"parity needs a person: {len(open_)} differences are not accepted, such as {open_[0].item} "
        f"({open_[0].why}); see `mailover parity`, then `mailover parity --accept ITEM --reason TEXT`"
    )


def _flip(
    workspace: Workspace,
    mailbox: MailboxConfig,
    lease: Lease,
    row: PhaseRow,
    order: Order,
    parity: Parity | None = None,
) -> Switch:
    if order.dry_run:
        return _outcome(mailbox, row, order, Result.WOULD, f"it would go to {order.to}", parity)
    evidence: dict[str, Any] = {}
    if parity:
        words = accepted(workspace.index, lease.mailbox_id)
        evidence = {
            "parity_at": parity.at.isoformat(),
            "counts": parity.counts,
            "accepted": [each.item for each in parity.differences if each.item in words],
        }
    transition = Transition(
        workspace.clock.now(),
        order.actor,
        row.phase,
        order.to,
        order.reason,
        parity.grade if parity else None,
        evidence,
    )
    flip(workspace.index, lease, transition)
    record_claim(workspace.lake, workspace.index, lease)
    return _outcome(mailbox, row, order, Result.DONE, f"{row.phase} → {order.to}", parity)


def _outcome(
    mailbox: MailboxConfig,
    row: PhaseRow,
    order: Order,
    result: Result,
    why: str,
    parity: Parity | None = None,
) -> Switch:
    return Switch(mailbox.address, Phase(row.phase), order.to, result, why, parity)
