"""What runs have in hand, so that nothing is asked of two of them."""

from datetime import datetime
from typing import Any

import dagster as dg

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def mailboxes_in_hand(instance: dg.DagsterInstance, job: str, op: str) -> dict[str, datetime]:
    """The mailboxes of the job's runs that wait or go on, and since when they are in the run's hand.

    Those are meant that the runs' config or partition names. A run that names none is not counted:
    whether a mailbox is being written is for its lease to say.
    """
    found: dict[str, datetime] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=UNDER_WAY)):
        run = record.dagster_run
        ops: Any = run.run_config.get("ops", {})
        named = [*ops.get(op, {}).get("config", {}).get("mailboxes", ())]
        if partition := run.tags.get("dagster/partition"):
            named.append(partition)
        found.update(dict.fromkeys(named, record.create_timestamp))
    return found
