"""Real runs of the jobs over a sandbox tenant."""

import dagster as dg
import pytest
from dagster import AssetKey, DagsterEventType, EventRecordsFilter

from assets.resources import Mailover
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.stages import Stage
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset, partition
from tests.assets.conftest import MAILBOXES
from tests.sandbox_fixture import RunningSandbox

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(
    defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **more: object
) -> dg.ExecuteInProcessResult:
    config = {**QUIET, **more.pop("run_config", {})}  # type: ignore[dict-item]
    return defs.resolve_job_def(job).execute_in_process(
        run_config=config,
        instance=instance,
        raise_on_error=False,
        **more,  # type: ignore[arg-type]
    )


def ask(
    defs: dg.Definitions, instance: dg.DagsterInstance, asset: str, check: str, mailbox: str
) -> dg.ExecuteInProcessResult:
    """Run a check for one partition, which is a tag as the UI gives it: the job has other partitions too."""
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={dg.AssetCheckKey(AssetKey(asset), check)}
    )
    return job.execute_in_process(
        run_config=QUIET, instance=instance, tags={"dagster/partition": mailbox}, raise_on_error=False
    )


def materialised(instance: dg.DagsterInstance, asset: str) -> dict[str, dg.AssetMaterialization]:
    records = instance.fetch_materializations(AssetKey(asset), limit=100).records
    return {
        str(record.asset_materialization.partition): record.asset_materialization
        for record in records
        if record.asset_materialization
    }


def evaluations(instance: dg.DagsterInstance, check: str) -> dict[str | None, bool]:
    records = instance.get_event_records(
        EventRecordsFilter(DagsterEventType.ASSET_CHECK_EVALUATION), limit=200, ascending=True
    )
    found = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        assert event
        evaluation = event.asset_check_evaluation_data
        if evaluation.check_name == check:
            found[evaluation.partition] = evaluation.passed
    return found


def rows(tenant: RunningSandbox, dataset: Dataset) -> int:
    workspace = Workspace(tenant.config)
    paths = [path for mailbox in MAILBOXES for path in workspace.lake.files(dataset, mailbox)]
    counted = sum(workspace.lake.describe(dataset, path).rows for path in paths)
    workspace.close()
    return counted


def test_one_run_brings_every_mailbox_through_all_stages(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, "ingest", instance).success
    assert rows(tenant, Dataset.RAW) == rows(tenant, Dataset.MESSAGES) == 120
    for stage in Stage:
        found = materialised(instance, stage)
        assert sorted(found) == MAILBOXES
        total = sum(each.metadata["dagster/row_count"].value for each in found.values())  # type: ignore[misc]
        assert total == 120
    assert evaluations(instance, "nothing_lost") == dict.fromkeys(MAILBOXES, True)


def test_a_pass_that_brings_nothing_leaves_one_materialisation(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    with Workspace(tenant.config) as workspace:
        assert ingest_mailbox(workspace, workspace.config.mailbox(MAILBOXES[0])).messages
    for _ in range(2):
        assert run(defs, "ingest", instance).success
    passes = {
        stage: len(instance.fetch_materializations(AssetKey(stage), limit=100).records) for stage in Stage
    }
    assert passes == {Stage.RAW_MESSAGES: 6, Stage.MESSAGES: 3, Stage.MESSAGE_INDEX: 3}
    assert sorted(materialised(instance, "messages")) == MAILBOXES, "also of what was read before Dagster"


def test_a_batch_in_the_run_config_serves_those_mailboxes_only(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    batch = {"ops": {"mail": {"config": {"mailboxes": [MAILBOXES[1]]}}}}
    assert run(defs, "ingest", instance, run_config=batch).success
    assert list(materialised(instance, "messages")) == [MAILBOXES[1]]


def test_one_partition_can_be_run_from_the_ui(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, "ingest", instance, partition_key=MAILBOXES[2]).success
    assert list(materialised(instance, "raw_messages")) == [MAILBOXES[2]]


@pytest.mark.parametrize("stage", ["messages", "message_index"])
def test_bytes_are_kept_a_stage_alone_is_redone_without_the_server(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox, stage: str
) -> None:
    assert run(defs, "ingest", instance).success
    tenant.process.terminate()
    tenant.process.wait(timeout=20)
    before = len(instance.fetch_materializations(AssetKey(stage), limit=100).records)
    every = {
        "dagster/asset_partition_range_start": MAILBOXES[0],
        "dagster/asset_partition_range_end": MAILBOXES[-1],
    }
    assert run(defs, "ingest", instance, asset_selection=[AssetKey(stage)], tags=every).success
    assert len(instance.fetch_materializations(AssetKey(stage), limit=100).records) == before + 3
    assert rows(tenant, Dataset.MESSAGES) == 120
    assert run(defs, "check", instance).success


def test_failure_is_contained_a_mailbox_that_cannot_be_read_fails_its_own_check_only(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    foreign = tenant.directory / "lake" / "raw" / partition(MAILBOXES[0]) / "year=2026"
    foreign.mkdir(parents=True)
    (foreign / "deadbeef-1-1.parquet").write_bytes(b"of another index")
    assert run(defs, "ingest", instance).success
    assert evaluations(instance, "nothing_lost") == {**dict.fromkeys(MAILBOXES, True), MAILBOXES[0]: False}
    assert MAILBOXES[0] not in materialised(instance, "messages")


def test_a_run_in_which_no_mailbox_could_be_read_fails(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    tenant.process.terminate()
    tenant.process.wait(timeout=20)
    assert not run(defs, "ingest", instance).success


def test_the_checks_ask_every_mailbox(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    run(defs, "ingest", instance)
    assert run(defs, "check", instance).success
    for check in ("nothing_lost", "nothing_twice", "bytes_are_kept", "quarantine_is_empty"):
        assert evaluations(instance, check) == dict.fromkeys(MAILBOXES, True)


def test_failure_is_contained_a_message_in_quarantine_is_a_warning_on_its_mailbox(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    kim = MAILBOXES[1]
    tenant.control.do("add_fault", kind="empty", door="imap", command="FETCH", mailbox=kim, uid=1)
    assert run(defs, "ingest", instance).success
    quarantined = materialised(instance, "raw_messages")[kim].metadata["quarantine"].value
    assert isinstance(quarantined, int)
    assert quarantined > 0
    assert run(defs, "check", instance).success, "a warning fails no run"
    assert evaluations(instance, "quarantine_is_empty") == {**dict.fromkeys(MAILBOXES, True), kim: False}
    asked = ask(defs, instance, "raw_messages", "quarantine_is_empty", kim)
    (evaluation,) = asked.get_asset_check_evaluations()
    assert asked.success
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"{quarantined} empty-answer" in str(evaluation.description)


def test_nothing_twice_the_job_compact_merges_the_files_of_every_mailbox(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(f"{text}ingest:\n  batch_bytes: 1\n")
    assert run(defs, "ingest", instance).success
    tenant.config_path.write_text(text)
    before = files(tenant)
    assert run(defs, "compact", instance).success
    assert files(tenant) < before / 2
    assert rows(tenant, Dataset.RAW) == rows(tenant, Dataset.MESSAGES) == 120
    assert run(defs, "check", instance).success


def files(tenant: RunningSandbox) -> int:
    return len(list((tenant.directory / "lake" / "messages").rglob("*.parquet")))


def test_a_check_can_be_asked_of_one_partition_from_the_ui(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    run(defs, "ingest", instance)
    asked = ask(defs, instance, "messages", "nothing_twice", MAILBOXES[0])
    assert asked.success
    assert evaluations(instance, "nothing_twice") == {MAILBOXES[0]: True}


def test_nothing_twice_the_check_fails_when_a_file_stands_twice_in_the_lake(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    run(defs, "ingest", instance)
    lake = tenant.directory / "lake" / "messages"
    file = next(lake.rglob("*.parquet"))
    (file.parent / "copy-1-1.parquet").write_bytes(file.read_bytes())
    assert not run(defs, "check", instance).success
    assert list(evaluations(instance, "nothing_twice").values()).count(False) == 1
    assert all(evaluations(instance, "nothing_lost").values())


def test_the_sensor_keeps_the_partitions_in_step_with_the_configuration(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    instance.add_dynamic_partitions("mailboxes", ["gone@contoso.com"])
    instance.delete_dynamic_partition("mailboxes", MAILBOXES[0])
    sensor = defs.get_repository_def().get_sensor_def("mailbox_partitions")
    with dg.build_sensor_context(instance=instance, resources={"mailover": Mailover()}) as context:
        result = sensor.evaluate_tick(context)
    added, deleted = result.dynamic_partitions_requests or []
    assert (added.partition_keys, deleted.partition_keys) == ([MAILBOXES[0]], ["gone@contoso.com"])
