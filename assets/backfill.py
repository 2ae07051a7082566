"""What mailboxes received in past months: a partition per mailbox and month."""

from collections.abc import Iterable, Iterator
from datetime import UTC
from functools import partial

import dagster as dg

from assets.partitions import mailboxes
from assets.resources import Mailover
from pipelines.cutover.passes import read_mailbox
from pipelines.ingest.backfill import backfill
from pipelines.ingest.report import MonthReport
from pipelines.ingest.span import Span

months = dg.MonthlyPartitionsDefinition(start_date="2015-01-01")
"""Dagster is slow beyond 100,000 partitions: so many years are enough for some 700 mailboxes."""
mailbox_months = dg.MultiPartitionsDefinition({"mailbox": mailboxes, "month": months})


@dg.asset(
    partitions_def=mailbox_months,
    group_name="mail",
    kinds={"parquet"},
    # Ranges run along the months: a backfill in the UI makes one run per mailbox.
    backfill_policy=dg.BackfillPolicy.single_run(),
    output_required=False,
    # Not the pool of live ingestion: a hundred mailboxes' years must not keep it waiting.
    pool="archive",
)
def archive_windows(context: dg.AssetExecutionContext, mailover: Mailover) -> Iterator[dg.Output[None]]:
    """What a mailbox received in a month, read by its date beside live ingestion."""
    failed: dict[str, str] = {}
    with mailover.workspace() as workspace:
        for address, span in _spans(context.partition_keys).items():
            report = backfill(
                workspace,
                workspace.config.mailbox(address),
                span,
                month_done=partial(_record, context, address),
                read=read_mailbox,
            )
            if undone := report.undone():
                failed[address] = "\n".join(undone)
    if failed:
        raise dg.Failure("not every month could be read", metadata={**failed}, allow_retries=False)
    # A function that only returns is given a materialisation of every partition by Dagster.
    yield from ()


def _spans(keys: Iterable[str]) -> dict[str, Span]:
    """What the run's partitions cover of each mailbox: months without a gap, since a range has none."""
    spans: dict[str, Span] = {}
    for key in keys:
        named = mailbox_months.get_partition_key_from_str(key).keys_by_dimension
        window = months.time_window_for_partition_key(named["month"])
        since, before = window.start.astimezone(UTC), window.end.astimezone(UTC)
        known = spans.get(named["mailbox"], Span(since, before))
        spans[named["mailbox"]] = Span(min(known.since, since), max(known.before, before))
    return spans


def _record(context: dg.AssetExecutionContext, address: str, month: MonthReport) -> None:
    """Log a month that is read, while the run goes on with the next one."""
    key = dg.MultiPartitionKey({"mailbox": address, "month": f"{month.span.since:%Y-%m-%d}"})
    counts = {each: month.total(each) for each in ("listed", "stored", "known", "quarantined", "bytes")}
    figures = {"new_messages": month.brought.messages, **counts}
    context.log.info(f"{key}: " + ", ".join(f"{number} {name}" for name, number in figures.items()))
    if not month.errors:
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=figures))
