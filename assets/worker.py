"""What a worker runs: ``celery --app assets.worker worker``.

Broker and settings are those of the launcher in ``$DAGSTER_HOME/dagster.yaml``.
"""

import dagster as dg
from celery import Celery
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task


def _app() -> Celery:
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise SystemExit(
            "dagster.yaml in $DAGSTER_HOME names no Celery run launcher: "
            "take assets/instance/celery/dagster.yaml"
        )
    create_execute_job_task(launcher.celery)
    create_resume_job_task(launcher.celery)
    return launcher.celery


app = _app()
