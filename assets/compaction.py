"""Merging small files of the lake, mailbox by mailbox, once a day."""

import dagster as dg

from assets.mail import Batch
from assets.resources import Mailover
from pipelines.ingest.compaction import compact_all
from pipelines.ingest.report import Outcome


@dg.op(description="Merge small files of the lake; mailboxes that are being read are left for the next time.")
def merge_small_files(context: dg.OpExecutionContext, config: Batch, mailover: Mailover) -> None:
    """Fails, once every mailbox has been seen to, if one could not be compacted."""
    failed: dict[str, str] = {}
    with mailover.workspace() as workspace:
        chosen = [each.address for each in workspace.config.select(config.mailboxes)]
        for report in compact_all(workspace, chosen if config.mailboxes else None):
            context.log.info(
                f"{report.mailbox}: {report.outcome}, {report.merged} files merged into {report.written}"
            )
            if report.outcome in (Outcome.FAILED, Outcome.ATTENTION):
                failed[report.mailbox] = str(report.error or f"cannot be read: {report.unreadable}")
    if failed:
        raise dg.Failure(f"{len(failed)} mailboxes need attention", metadata={**failed}, allow_retries=False)


@dg.job(name="compact", description="Merge small files: the run's batch of mailboxes, else of all.")
def compact_job() -> None:
    """An op, as merging makes nothing new: readers of the assets find the same rows."""
    merge_small_files()


compact_schedule = dg.ScheduleDefinition(job=compact_job, cron_schedule="30 3 * * *")
