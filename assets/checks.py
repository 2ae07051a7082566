"""Invariants 1, 2 and 3, and quarantine, as asset checks: per mailbox, asked of lake and index."""

from collections.abc import Callable
from typing import NamedTuple

import dagster as dg

from assets.partitions import mailboxes, partitions_of
from assets.resources import Mailover
from pipelines.ingest import checks
from pipelines.ingest.workspace import Workspace


class Check(NamedTuple):
    """A question to one mailbox, and the asset that it is about."""

    asset: str
    ask: Callable[[Workspace, str], checks.CheckResult]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    """WARN: worth a look, and no fault of the pipelines."""


CHECKS: dict[str, Check] = {
    "nothing_lost": Check("raw_messages", checks.nothing_lost),
    "nothing_twice": Check("messages", checks.nothing_twice),
    "bytes_are_kept": Check("raw_messages", checks.bytes_are_kept),
    "quarantine_is_empty": Check("raw_messages", checks.quarantine_is_empty, dg.AssetCheckSeverity.WARN),
}


def log_evaluation(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    name: str,
    result: checks.CheckResult,
    mailbox: str,
) -> None:
    """Log a check's result on the mailbox's partition."""
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(CHECKS[name].asset),
        check_name=name,
        passed=result.passed,
        severity=CHECKS[name].severity,
        description=result.summary,
        metadata={figure: dg.MetadataValue.int(value) for figure, value in result.figures.items()},
        partition=mailbox,
    )
    # Dagster takes this event here; its annotation lags behind.
    context.log_event(evaluation)  # type: ignore[arg-type]


def _asset_check(name: str) -> dg.AssetChecksDefinition:
    check = CHECKS[name]

    @dg.asset_check(asset=check.asset, name=name, description=check.ask.__doc__, partitions_def=mailboxes)
    def ask(context: dg.AssetCheckExecutionContext, mailover: Mailover) -> dg.AssetCheckResult:
        with mailover.workspace() as workspace:
            results = {each: check.ask(workspace, each) for each in partitions_of(context)}
        if len(results) > 1:
            # A range has one result of its own; each mailbox's goes to its own partition.
            for mailbox, result in results.items():
                log_evaluation(context.op_execution_context, name, result, mailbox)
        failed = {mailbox: result.summary for mailbox, result in results.items() if not result.passed}
        return dg.AssetCheckResult(
            passed=not failed,
            severity=check.severity,
            description="; ".join(f"{mailbox}: {summary}" for mailbox, summary in failed.items()) or None,
            metadata={"mailboxes": len(results), "failed": len(failed)},
        )

    return ask


@dg.op(description="Ask every check of every mailbox; a result on each mailbox's partition.")
def ask_every_mailbox(context: dg.OpExecutionContext, mailover: Mailover) -> None:
    """Fails, once every mailbox has been asked, if an invariant did not hold in one."""
    failed: dict[str, str] = {}
    with mailover.workspace() as workspace:
        for mailbox in workspace.config.mailboxes:
            for name, check in CHECKS.items():
                result = check.ask(workspace, mailbox.address)
                log_evaluation(context, name, result, mailbox.address)
                if not result.passed and check.severity is dg.AssetCheckSeverity.ERROR:
                    failed[f"{mailbox.address} {name}"] = result.summary
    if failed:
        raise dg.Failure(f"{len(failed)} checks failed", metadata={**failed}, allow_retries=False)


asset_checks = [_asset_check(name) for name in CHECKS]
