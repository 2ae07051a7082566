"""What a pass leaves in Dagster's event log: one materialisation per asset and mailbox, never per message."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from assets.checks import log_evaluation
from pipelines.index.parity import Parity
from pipelines.index.status import MailboxStatus, status
from pipelines.ingest.checks import CheckResult, nothing_lost
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage
from pipelines.ingest.workspace import Workspace

FAILED_TAG = "mail/failed"
"""On a run: how many of its mailboxes could not be read. The list of runs can be filtered by it."""


def shown_before(context: dg.AssetExecutionContext, mailboxes: Collection[str]) -> set[str]:
    """Those mailboxes of which Dagster has seen a pass through all stages."""
    if not mailboxes:
        return set()
    last, made = dg.AssetKey(Stage.MESSAGE_INDEX), dg.DagsterEventType.ASSET_MATERIALIZATION
    return set(context.instance.get_latest_storage_id_by_partition(last, made, set(mailboxes)))


def record_pass(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    stage: Stage,
    report: MailboxReport,
    *,
    shown: bool,
) -> None:
    """Log what became of one mailbox; the numbers plot over time.

    ``shown``: Dagster has seen the mailbox before. Then a pass that brought nothing leaves
    word of itself alone: most passes do, and the event log keeps everything.
    """
    if report.outcome is Outcome.BUSY:
        context.log.info(str(report.error))
        return
    if report.outcome is Outcome.FAILED:
        context.log.error(f"{report.mailbox}: {report.error}")
        failed = CheckResult(False, str(report.error))
        log_evaluation(context, "nothing_lost", failed, report.mailbox)
        return
    stages = list(Stage)
    written_to = stages[stages.index(stage) :]
    if shown and stage is Stage.RAW_MESSAGES and not report.messages:
        written_to = [stage]
    (state,) = status(workspace.index, [report.mailbox], workspace.clock.now())
    for written in written_to:
        metadata = _metadata(state, written, report)
        context.log_event(dg.AssetMaterialization(written.value, partition=report.mailbox, metadata=metadata))
    if stage is Stage.RAW_MESSAGES:
        result = nothing_lost(workspace, report.mailbox)
        log_evaluation(context, "nothing_lost", result, report.mailbox)
    if report.parity:
        metadata = parity_metadata(report.parity)
        context.log_event(dg.AssetMaterialization("parity", partition=report.mailbox, metadata=metadata))
    if report.messages or report.outcome is Outcome.ATTENTION:
        context.log.info(
            f"{report.mailbox}: {report.messages} new messages, {report.total('bytes')} bytes, "
            f"{report.total('quarantined')} quarantined, {len(report.folder_errors)} folders failed"
        )


def parity_metadata(parity: Parity) -> dict[str, dg.MetadataValue]:
    """A parity as numbers that plot over time."""
    matched = {f"matched by {evidence}": count for evidence, count in parity.counts["matched"].items()}
    kinds = Counter(each.kind for each in parity.differences)
    figures = {
        "differences": len(parity.differences),
        "legacy messages": parity.counts["messages"]["legacy"],
        "graph messages": parity.counts["messages"]["graph"],
        **matched,
        **kinds,
    }
    numbers = {name: dg.MetadataValue.int(value) for name, value in figures.items()}
    return {"grade": dg.MetadataValue.text(parity.grade), **numbers}


def record_failures(context: dg.AssetExecutionContext, failed: Mapping[str, str], among: int) -> None:
    """Name the mailboxes that could not be read, with the reasons, where the run is looked at.

    They do not fail the run, unless there were no others.
    """
    if not failed:
        return
    context.instance.add_run_tags(context.run.run_id, {FAILED_TAG: str(len(failed))})
    if len(failed) == among:
        raise dg.Failure("no mailbox could be read", metadata={"failed": {**failed}}, allow_retries=False)
    context.log.error(f"{len(failed)} of {among} mailboxes could not be read: {', '.join(sorted(failed))}")


def failed_mailboxes(reports: Sequence[MailboxReport]) -> dict[str, str]:
    """Mailboxes that could not be read, and why."""
    return {each.mailbox: str(each.error) for each in reports if each.outcome is Outcome.FAILED}


def _metadata(state: MailboxStatus, stage: Stage, report: MailboxReport) -> dict[str, dg.MetadataValue]:
    figures: dict[str, float] = {
        "new_messages": report.messages,
        "seconds": round(report.seconds, 3),
    }
    if stage is Stage.RAW_MESSAGES:
        figures |= {
            "new_bytes": report.total("bytes"),
            "downloads": report.downloads,
            "folders": len(report.rounds),
            "folders_failed": len(report.folder_errors),
            "quarantine": state.quarantine,
        }
    if stage is Stage.MESSAGE_INDEX:
        figures |= {"occurrences": state.occurrences, "lag_seconds": round(state.lag or 0.0, 1)}
    metadata = {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in figures.items()
    }
    return {"dagster/row_count": dg.MetadataValue.int(state.messages), **metadata}
