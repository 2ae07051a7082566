"""Runs on several machines: a broker, PostgreSQL, two workers, and what becomes of runs that are killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterRunStatus

from pipelines.index.tables import mailboxes
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace
from tests import postgres_fixture, redis_fixture
from tests.assets.machines import Machines, end, machines
from tests.ingest.test_tenant import forms_of, in_lake, in_tenant, keys_once
from tests.postgres_fixture import Postgres
from tests.redis_fixture import running_redis
from tests.sandbox_fixture import RunningSandbox

ALEX, KIM, SALES = "alex.wilber@contoso.com", "kim.akers@contoso.com", "sales@contoso.com"
WITHIN = 120.0


@pytest.fixture
def dagster(
    tmp_path: Path, sandbox: RunningSandbox, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machines]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder) as broker, machines(tmp_path / "home", sandbox, postgres, broker) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN
    while not what():
        assert time.monotonic() < until
        time.sleep(0.2)


def stall_after_the_inbox(sandbox: RunningSandbox, mailbox: str) -> None:
    """Until the faults are cleared, whoever reads a mailbox gets what is in its Inbox, and then waits."""
    of_inbox = sum(
        (each["mailbox"], each["folder"]) == (mailbox, "Inbox") for each in sandbox.control.messages()
    )
    for times, seconds in ((of_inbox, 0), (1, 600)):
        sandbox.control.do(
            "add_fault",
            kind="delay",
            door="imap",
            command="FETCH",
            mailbox=mailbox,
            times=times,
            seconds=seconds,
        )


def holders(workspace: Workspace) -> dict[str, int]:
    """The process that holds each mailbox whose first messages are committed."""
    with workspace.index.read() as connection:
        rows = connection.execute(sa.select(mailboxes).where(mailboxes.c.commits > 9))
        return {row.address: row.lease_holder["pid"] for row in rows if row.lease_holder}


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    (entry,) = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    return str(entry.dagster_event and entry.dagster_event.message)


def test_nothing_lost_nothing_twice_secrets_stay_secret_after_a_worker_and_a_whole_machine_are_killed(
    dagster: Machines, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    for mailbox in (KIM, SALES):
        stall_after_the_inbox(sandbox, mailbox)
    workers = [dagster.start_worker(name) for name in ("one", "two")]
    dagster.start_dagster()
    dagster.launch(KIM, ALEX)
    dagster.launch(SALES)
    with Workspace(sandbox.config) as workspace, dg.DagsterInstance.get() as instance:
        wait_until(lambda: {KIM, SALES} <= holders(workspace).keys())
        of_kim, of_sales = holders(workspace)[KIM], holders(workspace)[SALES]
        # One writer: this process is turned away by the worker's.
        busy = ingest_mailbox(workspace, workspace.config.mailbox(KIM))
        assert busy.outcome is Outcome.BUSY
        assert f"process {of_kim} on" in str(busy.error)

        os.kill(of_sales, signal.SIGKILL)
        (machine,) = [each for each in workers if each.pid == os.getpgid(of_kim)]
        end(machine)
        sandbox.control.do("clear_faults")
        wait_until(lambda: [each.status for each in instance.get_runs()].count(DagsterRunStatus.SUCCESS) == 2)
        runs = instance.get_runs()
        failed = [why_failed(instance, run) for run in runs if run.status is DagsterRunStatus.FAILURE]
        assert len(runs) == 4
        assert any("does not answer" in each for each in failed), failed
        assert any("Celery task failed" in each for each in failed), failed
        wait_until(lambda: not instance.event_log_storage.get_concurrency_run_ids())
        with workspace.index.read() as connection:
            epochs = dict(connection.execute(sa.select(mailboxes.c.address, mailboxes.c.lease_epoch)).all())
    assert (epochs[KIM], epochs[SALES]) == (2, 2), "the leases of the dead were taken over"
    assert in_lake(sandbox) == in_tenant(sandbox)
    assert keys_once(sandbox)

    written = [path for path in [*tmp_path.rglob("*.log"), *tmp_path.rglob("*.aof")] if path.is_file()]
    assert {"one.log", "daemon.log", "redis.log"} <= {path.name for path in written}
    assert any(b"execute_job" in path.read_bytes() for path in written if path.suffix == ".aof")
    for secret in (sandbox.secret, postgres_fixture.PASSWORD, redis_fixture.PASSWORD):
        for path in written:
            assert not any(form in path.read_bytes() for form in forms_of(secret)), path
