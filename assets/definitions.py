"""Everything Dagster loads, in one object."""

import dagster as dg

from assets.checks import asset_checks
from assets.jobs import check_job, ingest_job
from assets.mail import mail
from assets.resources import Mailover
from assets.schedules import check_schedule, ingest_schedule
from assets.sensors import mailbox_partitions

defs = dg.Definitions(
    assets=[mail],
    asset_checks=asset_checks,
    jobs=[ingest_job, check_job],
    schedules=[ingest_schedule, check_schedule],
    sensors=[mailbox_partitions],
    resources={"mailover": Mailover()},
    executor=dg.in_process_executor,
)
