"""Everything Dagster loads, in one object."""

import dagster as dg

from assets.backfill import archive_windows
from assets.checks import asset_checks
from assets.compaction import compact_job, compact_schedule
from assets.cutover import (
    cutover_job,
    parity,
    parity_allows_the_switch,
    phases,
    phases_job,
    phases_schedule,
    promote_waves,
    waves_job,
)
from assets.jobs import check_job, ingest_job
from assets.mail import mail
from assets.resources import Mailover
from assets.schedules import check_schedule, ingest_schedule
from assets.sensors import mailbox_partitions

defs = dg.Definitions(
    assets=[mail, archive_windows, parity, phases],
    asset_checks=[*asset_checks, parity_allows_the_switch],
    jobs=[ingest_job, check_job, cutover_job, waves_job, phases_job, compact_job],
    schedules=[ingest_schedule, check_schedule, phases_schedule, compact_schedule],
    sensors=[mailbox_partitions, promote_waves],
    resources={"mailover": Mailover()},
    executor=dg.in_process_executor,
)
