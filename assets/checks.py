"""Invariants 1, 2 and 3 as asset checks: per mailbox, asked of lake and index."""

from collections.abc import Callable

import dagster as dg

from assets.partitions import mailboxes, partitions_of
from assets.resources import Mailover
from pipelines.ingest import checks
from pipelines.ingest.workspace import Workspace

Check = Callable[[Workspace, str], checks.CheckResult]
CHECKS: dict[str, tuple[str, Check]] = {
    "nothing_lost": ("raw_messages", checks.nothing_lost),
    "nothing_twice": ("messages", checks.nothing_twice),
    "bytes_are_kept": ("raw_messages", checks.bytes_are_kept),
}


def evaluation(name: str, result: checks.CheckResult, mailbox: str) -> dg.AssetCheckEvaluation:
    """A check's result as an event on the mailbox's partition."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(CHECKS[name][0]),
        check_name=name,
        passed=result.passed,
        description=result.summary,
        metadata={figure: dg.MetadataValue.int(value) for figure, value in result.figures.items()},
        partition=mailbox,
    )


def _asset_check(name: str) -> dg.AssetChecksDefinition:
    asset, check = CHECKS[name]

    @dg.asset_check(asset=asset, name=name, description=check.__doc__, partitions_def=mailboxes)
    def ask(context: dg.AssetCheckExecutionContext, mailover: Mailover) -> dg.AssetCheckResult:
        with mailover.workspace() as workspace:
            chosen = workspace.config.select(partitions_of(context))
            results = {each.address: check(workspace, each.address) for each in chosen}
        for mailbox, result in results.items():
            if len(results) > 1:
                context.op_execution_context.log_event(evaluation(name, result, mailbox))
        failed = {mailbox: result.summary for mailbox, result in results.items() if not result.passed}
        return dg.AssetCheckResult(
            passed=not failed,
            description="; ".join(f"{mailbox}: {summary}" for mailbox, summary in failed.items()) or None,
            metadata={"mailboxes": len(results), "failed": len(failed)},
        )

    return ask


asset_checks = [_asset_check(name) for name in CHECKS]
