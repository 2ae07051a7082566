"""The stages a message passes, each of which can be redone alone from the one before it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from enum import StrEnum

from pipelines.config import MailboxConfig
from pipelines.index.lease import hold
from pipelines.ingest.passes import Progress, contained, ingest_mailbox, no_progress
from pipelines.ingest.rebuild import rebuild
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.workspace import Workspace


class Stage(StrEnum):
    """Where to begin; the later stages follow from it."""

    RAW_MESSAGES = "raw_messages"
    """From the server: one pass brings new mail through all three."""
    MESSAGES = "messages"
    """From ``raw``: every row of ``messages`` is written anew."""
    MESSAGE_INDEX = "message_index"
    """From the lake: the mailbox's part of the index is built anew."""


def run_stage(
    workspace: Workspace, stage: Stage, mailboxes: Sequence[MailboxConfig], progress: Progress = no_progress
) -> Iterator[MailboxReport]:
    """Run a stage over mailboxes side by side; a report for each as it ends. None can fail another."""
    pool = ThreadPoolExecutor(workspace.config.ingest.concurrency, thread_name_prefix="mailbox")
    try:
        futures = [pool.submit(_run_one, workspace, stage, each, progress) for each in mailboxes]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_one(workspace: Workspace, stage: Stage, mailbox: MailboxConfig, progress: Progress) -> MailboxReport:
    if stage is Stage.RAW_MESSAGES:
        return ingest_mailbox(workspace, mailbox, progress)
    report = MailboxReport(mailbox.address, protocol="lake")
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        if stage is Stage.MESSAGES:
            report.messages = renormalise(workspace, lease, everything=True)
        else:
            report.messages = rebuild(workspace, lease)
    return report
