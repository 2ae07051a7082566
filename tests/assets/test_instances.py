"""The instance settings that come with the project: Dagster takes them, and they agree where they should."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from dagster_k8s.launcher import K8sRunLauncher
from dagster_postgres import PostgresRunStorage
from kubernetes.client import ApiClient

from tests.sandbox_fixture import ROOT

INSTANCES = ROOT / "assets" / "instance"
SHARED = ["run_retries", "concurrency", "retention", "nux"]
"""What does not depend on where runs are executed."""


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.fixture
def values() -> dict[str, Any]:
    return read(INSTANCES / "kubernetes" / "values.yaml")


@pytest.mark.parametrize("name", ["local", "production", "celery"])
def test_dagster_takes_the_settings(name: str) -> None:
    accepted = validate_config(dagster_instance_config_schema(), read(INSTANCES / name / "dagster.yaml"))
    assert accepted.success, accepted.errors


def test_dagster_takes_what_the_values_add_to_its_settings(values: dict[str, Any]) -> None:
    accepted = validate_config(dagster_instance_config_schema(), values["additionalInstanceConfig"])
    assert accepted.success, accepted.errors


def test_queue_and_limits_are_the_same_wherever_runs_are_executed(values: dict[str, Any]) -> None:
    production = read(INSTANCES / "production" / "dagster.yaml")
    celery = read(INSTANCES / "celery" / "dagster.yaml")
    kubernetes = values["additionalInstanceConfig"]
    for each in SHARED:
        assert production[each] == celery[each] == kubernetes[each], each
    assert celery["run_monitoring"] == kubernetes["run_monitoring"]
    assert production["run_monitoring"].items() <= celery["run_monitoring"].items()


def test_tls_is_verified_wherever_the_database_is_elsewhere(values: dict[str, Any]) -> None:
    celery = read(INSTANCES / "celery" / "dagster.yaml")["storage"]["postgres"]["postgres_db"]
    chart = values["postgresql"]
    assert celery["params"]["sslmode"] == chart["postgresqlParams"]["sslmode"] == "verify-full"
    settings = {
        "hostname": chart["postgresqlHost"],
        "username": chart["postgresqlUsername"],
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "db_name": chart["postgresqlDatabase"],
        "port": chart["service"]["port"],
        "params": chart["postgresqlParams"],
        "scheme": chart["postgresqlScheme"],
    }
    accepted = validate_config(PostgresRunStorage.config_type(), {"postgres_db": settings})
    assert accepted.success, accepted.errors


def test_a_runs_pod_has_configuration_secrets_and_limits(values: dict[str, Any]) -> None:
    container = pod_of_a_run(values)["containers"][0]
    assert container["image"] == "mailover:0.1.0"
    assert {"name": "MAILOVER_CONFIG", "value": "/etc/mailover/mailover.yaml"} in container["env"]
    assert {"secretRef": {"name": "mailover"}} in container["envFrom"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts["configuration"] == "/etc/mailover"
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def pod_of_a_run(values: dict[str, Any]) -> dict[str, Any]:
    """What Dagster would ask Kubernetes for, made from the values as the chart's templates hand them on."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    of_launcher = {
        "load_incluster_config": launcher["loadInclusterConfig"],
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "run_k8s_config": {
            "container_config": launcher["runK8sConfig"]["containerConfig"],
            "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
        },
    }
    accepted = validate_config(K8sRunLauncher.config_type(), of_launcher)  # type: ignore[no-untyped-call]
    assert accepted.success, accepted.errors
    of_code = {
        "image_pull_policy": deployment["image"]["pullPolicy"],
        "env_secrets": [each["name"] for each in deployment["envSecrets"]],
        "env": deployment["env"],
        "volumes": deployment["volumes"],
        "volume_mounts": deployment["volumeMounts"],
        "resources": deployment["resources"],
    }
    context = K8sContainerContext.create_from_config(
        {"k8s": {"run_k8s_config": of_launcher["run_k8s_config"]}}
    )
    context = context.merge(K8sContainerContext.create_from_config({"k8s": of_code}))
    image = deployment["image"]
    config = DagsterK8sJobConfig(
        job_image=f"{image['repository']}:{image['tag']}",
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="dagster-instance",
        postgres_password_secret=values["global"]["postgresqlSecretName"],
    )
    job = construct_dagster_k8s_job(
        config, ["dagster"], "run", user_defined_k8s_config=context.run_k8s_config
    )
    pod: dict[str, Any] = ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    return pod
