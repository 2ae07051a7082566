"""The stages of a message as assets: new mail passes all three in one run and one commit."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
from pydantic import Field

from assets.events import failed_mailboxes, record_failures, record_pass, shown_before
from assets.partitions import mailboxes, partitions_of
from assets.resources import Mailover
from pipelines.config import MailboxConfig
from pipelines.cutover.passes import read_mailbox
from pipelines.errors import UsageError
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.turns import in_turn, left_undone
from pipelines.ingest.workspace import Workspace
from pipelines.lake.schema import MESSAGES_SCHEMA, RAW_SCHEMA


class Batch(dg.Config):
    """The mailboxes one run serves; a run per mailbox would cost a hundred times as much."""

    mailboxes: list[str] = Field(default_factory=list)
    """Addresses. Empty: the run's partition or range, else every configured mailbox."""


class Reading(Batch):
    """What ``ingest`` can be told in the Launchpad."""

    failed: bool = False
    """Only those whose last pass failed or left something undone."""


def _spec(
    key: str, description: str, kind: str, after: str | None, schema: pa.Schema | None = None
) -> dg.AssetSpec:
    columns = [dg.TableColumn(field.name, str(field.type)) for field in schema or ()]
    return dg.AssetSpec(
        key,
        deps=[after] if after else [],
        description=description,
        kinds={kind},
        group_name="mail",
        partitions_def=mailboxes,
        skippable=True,
        metadata={"dagster/column_schema": dg.TableSchema(columns)} if columns else None,
    )


@dg.multi_asset(
    name="mail",
    specs=[
        _spec(
            "raw_messages",
            "The MIME of every message as the server delivered it, once per mailbox.",
            "parquet",
            None,
            RAW_SCHEMA,
        ),
        _spec(
            "messages",
            "One row per message: headers, addresses, text, attachments, defects.",
            "parquet",
            "raw_messages",
            MESSAGES_SCHEMA,
        ),
        _spec(
            "message_index",
            "Where each message lies, which ids stand for it, and its words.",
            "sql",
            "messages",
        ),
    ],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="exchange",
)
def mail(context: dg.AssetExecutionContext, config: Reading, mailover: Mailover) -> Iterator[dg.Output[None]]:
    """Run the first selected stage, and those that follow from it, over the run's mailboxes."""
    stage = _first_selected(context)
    with mailover.workspace() as workspace:
        chosen, failed = _chosen(context, workspace, config, stage)
        among = len(chosen) + len(failed)
        shown = shown_before(context, [each.address for each in chosen])
        reports = []
        for report in run_stage(workspace, stage, chosen, read=read_mailbox):
            record_pass(context, workspace, stage, report, shown=report.mailbox in shown)
            reports.append(report)
    record_failures(context, failed | failed_mailboxes(reports), among)
    yield from ()


def _first_selected(context: dg.AssetExecutionContext) -> Stage:
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    return next(stage for stage in Stage if stage in selected)


def _chosen(
    context: dg.AssetExecutionContext, workspace: Workspace, config: Reading, stage: Stage
) -> tuple[list[MailboxConfig], dict[str, str]]:
    """The run's mailboxes, longest waiting first; and those that are configured no more, with the reason.

    A run that takes another one's place is left what that one has left: a worker that died
    has committed most of its mailboxes.
    """
    chosen, failed = [], {}
    for address in config.mailboxes or partitions_of(context):
        try:
            chosen.append(workspace.config.mailbox(address))
        except UsageError as unknown:
            context.log.error(str(unknown))
            failed[address] = str(unknown)
    if not chosen and not failed:
        chosen = workspace.config.select([])
    if context.run.is_resume_retry and stage is Stage.RAW_MESSAGES:
        first = context.instance.get_run_record_by_id(str(context.run.root_run_id))
        return left_undone(workspace, chosen, first.create_timestamp if first else None), failed
    return left_undone(workspace, chosen) if config.failed else in_turn(workspace, chosen), failed
