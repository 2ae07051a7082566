"""The launcher of runs on Celery's workers: which runs it takes for dead, and which brokers it refuses."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._serdes import ConfigurableClassData
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from assets.launcher import WatchfulCeleryRunLauncher
from pipelines.errors import ConfigurationError
from tests.redis_fixture import running_redis


@pytest.mark.parametrize(
    ("state", "result", "message"),
    [
        ("STARTED", {"pid": 1, "hostname": "worker1@gone"}, "worker1@gone does not answer"),
        ("SUCCESS", 1, "ended without recording how"),
        ("FAILURE", RuntimeError("killed"), "Celery task failed"),
    ],
)
def test_a_run_that_nobody_executes_any_more_is_taken_for_dead(
    tmp_path: Path, state: str, result: object, message: str
) -> None:
    with running_redis(tmp_path) as url:
        made = launcher({"broker": url, "backend": url})
        made.celery.backend.store_result("the task", result, state)
        run = dg.DagsterRun("ingest", tags={DAGSTER_CELERY_TASK_ID_TAG: "the task"})
        health = made.check_run_worker_health(run)
    assert health.status.name == "FAILED"
    assert message in str(health.msg)


@pytest.mark.parametrize("options", ["", "?ssl_cert_reqs=none", "?ssl_cert_reqs=optional"])
def test_tls_is_verified_or_the_broker_is_refused_and_secrets_stay_secret(options: str) -> None:
    url = f"rediss://:swordfish@redis.contoso.com:6379/0{options}"
    with pytest.raises(ConfigurationError, match="does not verify") as refused:
        launcher({"broker": url, "backend": url})
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://localhost:6379/0", "rediss://redis.contoso.com:6379/0?ssl_cert_reqs=required"]
)
def test_a_broker_on_this_computer_or_one_that_is_verified_is_taken(url: str) -> None:
    assert launcher({"broker": url, "backend": url}).broker == url


def launcher(config: dict[str, str]) -> WatchfulCeleryRunLauncher:
    data = ConfigurableClassData("assets.launcher", "WatchfulCeleryRunLauncher", yaml.safe_dump(config))
    return data.rehydrate(as_type=WatchfulCeleryRunLauncher)
