"""What runs have in hand, so that nothing is asked of two of them."""

from typing import Any

import dagster as dg

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def mailboxes_in_hand(instance: dg.DagsterInstance, job: str, op: str) -> set[str]:
    """The mailboxes of the job's runs that wait or go on, as the runs' config or partition names them.

    A run that names none is not counted: whether a mailbox is being written is for its lease to say.
    """
    found: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY)):
        ops: Any = run.run_config.get("ops", {})
        found.update(ops.get(op, {}).get("config", {}).get("mailboxes", ()))
        if partition := run.tags.get("dagster/partition"):
            found.add(partition)
    return found
