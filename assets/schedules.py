"""When mailboxes are read and checked; switched on in the UI or with ``dagster schedule start``."""

from collections.abc import Iterator

import dagster as dg

from assets.jobs import check_job, ingest_job
from assets.mail import Batch
from assets.resources import Mailover

BATCH_SIZE = 100
"""Mailboxes per run: starting a run costs seconds, a mailbox in it hundredths."""


@dg.schedule(
    job=ingest_job, cron_schedule="*/15 * * * *", description="Read every mailbox, a run per hundred."
)
def ingest_schedule(mailover: Mailover) -> Iterator[dg.RunRequest]:
    """One run request per batch of mailboxes; a mailbox still being read is skipped by its lease."""
    addresses = [each.address for each in mailover.config().mailboxes]
    for number, start in enumerate(range(0, len(addresses), BATCH_SIZE)):
        batch = Batch(mailboxes=addresses[start : start + BATCH_SIZE])
        yield dg.RunRequest(
            run_key=str(number),
            run_config=dg.RunConfig(ops={"mail": batch}),
            tags={"mail/shard": str(number)},
        )


check_schedule = dg.ScheduleDefinition(job=check_job, cron_schedule="0 5 * * *")
