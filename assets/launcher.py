"""Runs that Celery's workers execute, on this machine and on others."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

# Launchers of one's own need these, and Dagster shows them under no public name.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from pipelines.errors import ConfigurationError

ANSWERS_WITHIN = 5.0
"""Seconds. A worker that is wrongly taken for dead does no harm: its leases still keep others out."""


class WatchfulCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's launcher, which also notices runs that nobody executes any more.

    Celery tells when a worker's child process dies. Of a machine that dies it tells nothing, and of a
    run that could not record its end (Dagster's database was away) it tells that it is done: such runs
    would stay *started* for ever, and keep their place in the queue.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """What dagster.yaml describes. Raises ``ConfigurationError`` where it would take any server."""
        for name in ("broker", "backend"):
            _must_be_verified(name, str(config_value.get(name)))
        return super().from_config_value(inst_data, config_value)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What Celery says of a run that Dagster has as started, and whether its worker still answers."""
        health = super().check_run_worker_health(run)
        if health.status is WorkerStatus.SUCCESS:
            # Dagster disregards this where the run has ended in the meantime.
            return CheckRunHealthResult(WorkerStatus.FAILED, "The run ended without recording how.")
        if health.status is WorkerStatus.RUNNING:
            worker = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG]).info["hostname"]
            if not self.celery.control.ping(destination=[worker], timeout=ANSWERS_WITHIN):
                return CheckRunHealthResult(WorkerStatus.FAILED, f"Celery's worker {worker} does not answer.")
        return health


def _must_be_verified(name: str, url: str) -> None:
    # Left to itself, the broker's client takes any certificate.
    parts = urlsplit(url)
    if parts.scheme == "rediss" and parse_qs(parts.query).get("ssl_cert_reqs") != ["required"]:
        raise ConfigurationError(
            f"run_launcher {name}: a rediss:// URL that does not verify its server",
            remedy="add ?ssl_cert_reqs=required to it, and &ssl_ca_certs=FILE for the trusted certificates",
        )
