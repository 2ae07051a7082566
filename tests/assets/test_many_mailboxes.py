"""A tick for many mailboxes: whose turn it is, in which runs, and what is read again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import AssetKey

from assets.resources import Mailover
from pipelines.config import MailboxConfig
from pipelines.cutover.passes import read_mailbox
from pipelines.index.tables import mailboxes
from pipelines.ingest.passes import Progress
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.workspace import Workspace
from pipelines.lake import partition
from tests.assets.conftest import MAILBOXES
from tests.assets.reexecution import ingest
from tests.assets.test_runs import QUIET, evaluations, materialised, run
from tests.sandbox_fixture import RunningSandbox

ALEX, KIM, SALES = MAILBOXES
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str | None]:
    """What one evaluation of the schedule asks for, and why it asks for nothing."""
    schedule = defs.get_repository_def().get_schedule_def("ingest_schedule")
    with dg.build_schedule_context(instance=instance, resources={"mailover": Mailover()}) as context:
        evaluated = schedule.evaluate_tick(context)
    return list(evaluated.run_requests or ()), evaluated.skip_message


def batch(request: dg.RunRequest) -> list[str]:
    return list(request.run_config["ops"]["mail"]["config"]["mailboxes"])


def configure(tenant: RunningSandbox, more: int, per_run: int) -> list[str]:
    """Mailboxes beside those of the tenant, and the size of a run."""
    added = [f"u{number:05}@contoso.com" for number in range(more)]
    lines = "".join(f"  - address: {each}\n    legacy: imap\n" for each in added)
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(f"{text}{lines}ingest: {{mailboxes_per_run: {per_run}}}\n")
    return added


def read_at(tenant: RunningSandbox, passes: dict[str, datetime]) -> None:
    """As if mailboxes had been read to their end then."""
    with Workspace(tenant.config) as workspace, workspace.index.write() as connection:
        for address, at in passes.items():
            connection.execute(
                sa.update(mailboxes).where(mailboxes.c.address == address).values(last_pass_at=at)
            )


def start(instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest]) -> None:
    for each in requests:
        instance.add_run(
            dg.DagsterRun(
                job_name="ingest", run_config=each.run_config, status=dg.DagsterRunStatus.NOT_STARTED
            )
        )


def test_who_has_waited_longest_comes_first_and_who_was_never_read_before_all(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    added = configure(tenant, more=4, per_run=3)
    ages = [5, 1, 9, 3]
    read_at(tenant, {each: NOON - timedelta(hours=age) for each, age in zip(added, ages, strict=True)})
    requests, _ = tick(defs, instance)
    turns = [batch(each) for each in requests]
    assert [len(each) for each in turns] == [3, 3, 1]
    assert sorted(turns[0]) == MAILBOXES
    assert [*turns[1], *turns[2]] == [added[2], added[0], added[3], added[1]]


def test_a_tick_beside_runs_that_wait_or_go_on_asks_for_no_mailbox_twice(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    configure(tenant, more=5, per_run=2)
    first, _ = tick(defs, instance)
    start(instance, first[:2])
    second, _ = tick(defs, instance)
    assert [batch(each) for each in second] == [batch(each) for each in first[2:]]
    assert [each.run_key for each in second] == [each.run_key for each in first[2:]], (
        "a tick again is the same"
    )
    start(instance, second)
    assert tick(defs, instance) == ([], "all 8 mailboxes are in the hands of earlier runs")
    for each in instance.get_runs():
        instance.delete_run(each.run_id)
    assert len(tick(defs, instance)[0]) == 4


def test_a_mailbox_that_a_going_run_is_done_with_has_its_turn_again(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    requests, _ = tick(defs, instance)
    start(instance, requests)
    assert tick(defs, instance)[0] == []
    read_at(tenant, {KIM: datetime.now(UTC)})
    (request,), _ = tick(defs, instance)
    assert batch(request) == [KIM]


def test_a_run_of_one_partition_has_its_mailbox_in_hand(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    instance.add_run(
        dg.DagsterRun(job_name="ingest", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": KIM})
    )
    (request,), _ = tick(defs, instance)
    assert sorted(batch(request)) == [ALEX, SALES]


def test_a_tick_for_ten_thousand_mailboxes_is_one_question_to_the_index(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    configure(tenant, more=9_997, per_run=100)
    Workspace(tenant.config).close()
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        requests, _ = tick(defs, instance)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(requests) == 100
    assert sum(len(batch(each)) for each in requests) == 10_000
    assert len({each.run_key for each in requests}) == 100
    assert len([each for each in asked if "last_pass_at" in each]) == 1
    assert len(asked) < 20, asked


def refuse(tenant: RunningSandbox, address: str) -> None:
    """From now on the tenant lets nobody into this mailbox."""
    tenant.control.do("grant", address=address, granted=False)


def test_failure_is_contained_a_run_names_the_mailboxes_that_failed_in_it(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    refuse(tenant, KIM)
    ended = run(defs, "ingest", instance)
    assert ended.success
    assert sorted(materialised(instance, "messages")) == [ALEX, SALES]
    assert instance.get_runs(dg.RunsFilter(tags={"mail/failed": "1"}))[0].run_id == ended.run_id


def test_only_what_failed_is_read_again_from_the_launchpad(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    refuse(tenant, KIM)
    assert run(defs, "ingest", instance).success
    tenant.control.do("grant", address=KIM, granted=True)
    only_failed = {"ops": {"mail": {"config": {"failed": True}}}}
    before = counted(instance)
    assert run(defs, "ingest", instance, run_config=only_failed).success
    assert counted(instance) == {**before, KIM: 1}
    assert run(defs, "ingest", instance, run_config=only_failed).success
    assert counted(instance) == {**before, KIM: 1}, "nothing is left to be read again"


def counted(instance: dg.DagsterInstance) -> dict[str, int]:
    """Passes that Dagster has seen, by mailbox."""
    records = instance.fetch_materializations(AssetKey("raw_messages"), limit=100).records
    partitions = [str(each.partition_key) for each in records]
    return {each: partitions.count(each) for each in partitions}


def test_a_lake_that_does_not_belong_to_the_index_counts_as_failed_too(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    foreign = tenant.directory / "lake" / "raw" / partition(ALEX) / "year=2026"
    foreign.mkdir(parents=True)
    (foreign / "deadbeef-1-1.parquet").write_bytes(b"of another index")
    assert run(defs, "ingest", instance).success
    (foreign / "deadbeef-1-1.parquet").unlink()
    before = counted(instance)
    assert run(defs, "ingest", instance, run_config={"ops": {"mail": {"config": {"failed": True}}}}).success
    assert counted(instance) == {**before, ALEX: 1}


def test_failure_is_contained_a_mailbox_that_left_the_configuration_does_not_stop_its_batch(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    gone = {"ops": {"mail": {"config": {"mailboxes": ["gone@contoso.com", KIM]}}}}
    assert run(defs, "ingest", instance, run_config=gone).success
    assert list(materialised(instance, "messages")) == [KIM]
    assert evaluations(instance, "nothing_lost") == {KIM: True}
    assert instance.get_runs(dg.RunsFilter(tags={"mail/failed": "1"}))
    gone["ops"]["mail"]["config"]["mailboxes"] = ["gone@contoso.com"]
    assert not run(defs, "ingest", instance, run_config=gone).success, "none is left"


def test_a_run_in_place_of_one_that_died_reads_what_that_one_left(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    tenant: RunningSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant.config_path.write_text(f"{tenant.config_path.read_text()}ingest: {{concurrency: 1}}\n")
    read_at(tenant, {ALEX: NOON - timedelta(days=1), KIM: NOON, SALES: NOON})
    job = dg.reconstructable(ingest)
    with monkeypatch.context() as patch:
        patch.setattr("assets.mail.read_mailbox", read_one_and_die)
        died = dg.execute_job(job, instance, run_config=QUIET, raise_on_error=False)
    assert not died.success
    again = dg.ReexecutionOptions.from_failure(died.run_id, instance)
    as_the_daemon = {"dagster/is_resume_retry": "true"}
    assert dg.execute_job(
        job, instance, run_config=QUIET, reexecution_options=again, tags=as_the_daemon
    ).success
    passes = instance.fetch_materializations(AssetKey("raw_messages"), limit=100).records
    assert sorted(str(each.partition_key) for each in passes if each.run_id != died.run_id) == [KIM, SALES]


def read_one_and_die(workspace: Workspace, mailbox: MailboxConfig, progress: Progress) -> MailboxReport:
    """A worker that dies with one mailbox read."""
    if mailbox.address == ALEX:
        return read_mailbox(workspace, mailbox, progress)
    raise KeyboardInterrupt
