"""Keeping Dagster's list of mailboxes in step with the configuration."""

import dagster as dg

from assets.partitions import mailboxes
from assets.resources import Mailover


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def mailbox_partitions(context: dg.SensorEvaluationContext, mailover: Mailover) -> dg.SensorResult:
    """Add a partition for each configured mailbox; drop those that are configured no more."""
    configured = {each.address for each in mailover.config().mailboxes}
    present = set(mailboxes.get_partition_keys(dynamic_partitions_store=context.instance))
    return dg.SensorResult(
        dynamic_partitions_requests=[
            mailboxes.build_add_request(sorted(configured - present)),
            mailboxes.build_delete_request(sorted(present - configured)),
        ]
    )
