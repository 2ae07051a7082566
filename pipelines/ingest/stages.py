"""The stages a message passes, each of which can be redone alone from the one before it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from enum import StrEnum
from typing import TypeVar

from pipelines.config import MailboxConfig
from pipelines.index.lease import hold
from pipelines.index.mailboxes import want_round
from pipelines.ingest.passes import Progress, contained, ingest_mailbox, no_progress
from pipelines.ingest.rebuild import rebuild
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace

Reader = Callable[[Workspace, MailboxConfig, Progress], MailboxReport]
Done = TypeVar("Done")
Mailbox = TypeVar("Mailbox")


class Stage(StrEnum):
    """Where to begin; the later stages follow from it."""

    RAW_MESSAGES = "raw_messages"
    """From the server: one pass brings new mail through all three."""
    MESSAGES = "messages"
    """From ``raw``: every row of ``messages`` is written anew."""
    MESSAGE_INDEX = "message_index"
    """From the lake: the mailbox's part of the index is built anew."""


def run_stage(
    workspace: Workspace,
    stage: Stage,
    mailboxes: Sequence[MailboxConfig],
    progress: Progress = no_progress,
    *,
    read: Reader = ingest_mailbox,
) -> Iterator[MailboxReport]:
    """Run a stage over mailboxes side by side; a report for each as it ends. None can fail another.

    ``read`` is the pass that reads a mailbox from its server.
    """
    if stage is Stage.RAW_MESSAGES:
        yield from side_by_side(workspace, mailboxes, lambda each: _read(workspace, each, progress, read))
    else:
        yield from side_by_side(workspace, mailboxes, lambda each: _redo(workspace, stage, each))


def side_by_side(
    workspace: Workspace, mailboxes: Sequence[Mailbox], work: Callable[[Mailbox], Done]
) -> Iterator[Done]:
    """Do ``work`` for each mailbox, ``ingest.concurrency`` of them at a time; results as they come."""
    pool = ThreadPoolExecutor(workspace.config.ingest.concurrency, thread_name_prefix="mailbox")
    wait = True
    try:
        for future in as_completed([pool.submit(work, each) for each in mailboxes]):
            yield future.result()
    except KeyboardInterrupt:
        # Readers may be waiting for a server for minutes; everything committed is safe.
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _read(workspace: Workspace, mailbox: MailboxConfig, progress: Progress, read: Reader) -> MailboxReport:
    report = read(workspace, mailbox, progress)
    if report.outcome is Outcome.BUSY:
        want_round(workspace.index, mailbox.address, workspace.clock.now())
    return report


def _redo(workspace: Workspace, stage: Stage, mailbox: MailboxConfig) -> MailboxReport:
    report = MailboxReport(mailbox.address, protocol="lake")
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        if stage is Stage.MESSAGES:
            report.messages = renormalise(workspace, lease, everything=True)
        else:
            report.messages = rebuild(workspace, lease)
    return report
