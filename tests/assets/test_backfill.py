"""Real runs of archive windows over a sandbox tenant."""

from collections import Counter
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster import AssetKey

from pipelines.ingest.backfill import backfill
from pipelines.ingest.report import MonthReport
from pipelines.ingest.span import Span
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset
from tests.assets.conftest import MAILBOXES
from tests.assets.test_runs import QUIET
from tests.assets.test_runs import run as run_job
from tests.sandbox_fixture import RunningSandbox

ALEX, KIM, SALES = MAILBOXES
YEAR = [f"2025-{month:02d}-01" for month in range(1, 13)]


def run(
    defs: dg.Definitions, instance: dg.DagsterInstance, first: str, last: str
) -> dg.ExecuteInProcessResult:
    """A run of all partitions from one to the other, as the UI's backfill starts it."""
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={AssetKey("archive_windows")}
    )
    range_ = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    return job.execute_in_process(run_config=QUIET, instance=instance, tags=range_, raise_on_error=False)


def figures(instance: dg.DagsterInstance, name: str) -> dict[str, object]:
    """A figure of each partition's newest materialisation."""
    records = instance.fetch_materializations(AssetKey("archive_windows"), limit=100, ascending=True).records
    made = [each.asset_materialization for each in records if each.asset_materialization]
    return {str(each.partition): each.metadata[name].value for each in made}


def received(tenant: RunningSandbox, mailbox: str) -> Counter[str]:
    """How many messages the tenant received for a mailbox, by month as partitions are named."""
    messages = [each for each in tenant.control.messages() if each["mailbox"] == mailbox]
    return Counter(f"{each['received_at'][:7]}-01" for each in messages)


def test_nothing_lost_nothing_twice_a_year_is_one_run_with_a_materialisation_per_month(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    whole_year = f"{KIM}|{YEAR[0]}", f"{KIM}|{YEAR[-1]}"
    assert run(defs, instance, *whole_year).success
    expected = {f"{KIM}|{month}": received(tenant, KIM)[month] for month in YEAR}
    assert figures(instance, "stored") == expected
    with Workspace(tenant.config) as workspace:
        files = workspace.lake.files(Dataset.RAW, KIM)
        rows = sum(workspace.lake.describe(Dataset.RAW, each).rows for each in files)
    assert rows == sum(expected.values()) > 10

    assert run_job(defs, "ingest", instance).success
    assert run(defs, instance, *whole_year).success
    assert figures(instance, "known") == expected
    assert set(figures(instance, "new_messages").values()) == {0}
    assert run_job(defs, "check", instance).success


def test_a_range_over_mailboxes_keeps_to_its_months(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, instance, f"{KIM}|2025-05-01", f"{SALES}|2025-06-01").success
    assert sorted(figures(instance, "stored")) == [
        f"{mailbox}|2025-{month}-01" for mailbox in (KIM, SALES) for month in ("05", "06")
    ]


def test_a_run_after_a_crash_reads_what_is_left_and_materialises_every_month(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    def crash(month: MonthReport) -> None:
        if month.span.since == datetime(2025, 7, 1, tzinfo=UTC):
            raise KeyboardInterrupt

    span = Span(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    with Workspace(tenant.config) as workspace, pytest.raises(KeyboardInterrupt):
        backfill(workspace, workspace.config.mailbox(KIM), span, month_done=crash)
    assert run(defs, instance, f"{KIM}|{YEAR[0]}", f"{KIM}|{YEAR[-1]}").success
    expected = received(tenant, KIM)
    assert figures(instance, "stored") == {f"{KIM}|{month}": expected[month] for month in YEAR}
    new = figures(instance, "new_messages")
    assert [new[f"{KIM}|{month}"] for month in YEAR] == [expected[each] for each in YEAR[:6]] + [0] * 6


def test_a_mailbox_on_pop3_fails_the_run_and_says_why(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(text.replace(f"{KIM}\n    legacy: imap", f"{KIM}\n    legacy: pop3"))
    result = run(defs, instance, f"{KIM}|{YEAR[0]}", f"{KIM}|{YEAR[1]}")
    assert not result.success
    (failure,) = [each for each in result.all_events if each.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data
    assert "POP3 can list no window of dates" in str(data.metadata[KIM].value)
    assert figures(instance, "stored") == {}
