"""When mailboxes are read and checked; switched on in the UI or with ``dagster schedule start``."""

import hashlib
from collections.abc import Iterator

import dagster as dg

from assets.jobs import check_job, ingest_job
from assets.mail import Reading
from assets.resources import Mailover
from assets.under_way import mailboxes_in_hand
from pipelines.ingest.turns import batches


@dg.schedule(
    job=ingest_job,
    cron_schedule="*/15 * * * *",
    description="Read every mailbox that no run has in hand, longest waiting first, a run per hundred.",
)
def ingest_schedule(
    context: dg.ScheduleEvaluationContext, mailover: Mailover
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One run request per batch. Where runs lag behind, their mailboxes are not asked for again."""
    in_hand = mailboxes_in_hand(context.instance, ingest_job.name, "mail")
    with mailover.workspace() as workspace:
        asked = batches(workspace, in_hand)
    for batch in asked:
        yield dg.RunRequest(
            run_key=_key(batch), run_config=dg.RunConfig(ops={"mail": Reading(mailboxes=batch)})
        )
    if not asked:
        yield dg.SkipReason(f"all {len(in_hand)} mailboxes are in the hands of earlier runs")


def _key(batch: list[str]) -> str:
    """Of the batch itself: a tick that is evaluated again after a crash has others under the same number."""
    return hashlib.sha256("\n".join(batch).encode()).hexdigest()[:16]


check_schedule = dg.ScheduleDefinition(job=check_job, cron_schedule="0 5 * * *")
