"""Runs that Celery's workers execute, on this machine and on others."""

# Launchers of one's own need these two, and Dagster shows them under no public name.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

ANSWERS_WITHIN = 5.0
"""Seconds. A worker that is wrongly taken for dead does no harm: its leases still keep others out."""


class WatchfulCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's launcher, which also notices when a worker is gone with its machine.

    Celery tells when a worker's child process dies. Of a machine that dies it tells nothing: its
    runs would stay *started* for ever, and keep their place in the queue.
    """

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What Celery says of the run; if it is running, whether its worker still answers, too."""
        health = super().check_run_worker_health(run)
        if health.status is not WorkerStatus.RUNNING:
            return health
        worker = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG]).info["hostname"]
        if self.celery.control.ping(destination=[worker], timeout=ANSWERS_WITHIN):
            return health
        return CheckRunHealthResult(WorkerStatus.FAILED, f"Celery's worker {worker} does not answer.")
