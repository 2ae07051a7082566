"""The switch in Dagster: parity per mailbox, phases at a glance, and the jobs that move mailboxes."""

from collections import Counter
from collections.abc import Iterator
from enum import Enum

import dagster as dg
from pydantic import Field

from assets.events import parity_metadata
from assets.mail import Batch
from assets.partitions import mailboxes, partitions_of
from assets.resources import Mailover
from assets.under_way import UNDER_WAY
from pipelines.cutover.parity import Grade, may_switch
from pipelines.cutover.passes import compare_now
from pipelines.cutover.phases import Phase
from pipelines.cutover.policy import carry_out, plan
from pipelines.cutover.switch import Order, Result, Switch, switch_all
from pipelines.index.journal import phase_row, phase_rows
from pipelines.index.parity import accepted, newest_parities
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage, run_stage


@dg.asset(
    partitions_def=mailboxes,
    group_name="cutover",
    kinds={"parquet"},
    deps=["message_index"],
    backfill_policy=dg.BackfillPolicy.single_run(),
    output_required=False,
    pool="exchange",
)
def parity(context: dg.AssetExecutionContext, config: Batch, mailover: Mailover) -> Iterator[dg.Output[None]]:
    """Both protocols' view of each mailbox, compared now and graded."""
    failed = {}
    with mailover.workspace() as workspace:
        chosen = [
            each
            for each in workspace.config.select(config.mailboxes or partitions_of(context))
            if each.legacy
        ]
        for report in run_stage(workspace, Stage.RAW_MESSAGES, chosen, read=compare_now):
            if report.parity:
                metadata = parity_metadata(report.parity)
                context.log_event(
                    dg.AssetMaterialization("parity", partition=report.mailbox, metadata=metadata)
                )
            elif report.outcome is not Outcome.BUSY:
                failed[report.mailbox] = str(report.error or "a folder could not be read to its end")
    if failed:
        raise dg.Failure("not every mailbox could be compared", metadata={**failed}, allow_retries=False)
    yield from ()


@dg.asset_check(asset=parity, partitions_def=mailboxes, blocking=True)
def parity_allows_the_switch(
    context: dg.AssetCheckExecutionContext, mailover: Mailover
) -> dg.AssetCheckResult:
    """The newest parity is good at least, or a person has accepted what it lists."""
    grades = Counter[str]()
    refused = []
    with mailover.workspace() as workspace:
        for address in partitions_of(context):
            mailbox_id = phase_row(workspace.index, address).mailbox_id
            newest = newest_parities(workspace.index, mailbox_id, 1)
            grades.update(each.grade for each in newest)
            if not newest or not may_switch(newest[0], accepted(workspace.index, mailbox_id)):
                refused.append(address)
    return dg.AssetCheckResult(
        passed=not refused,
        description=", ".join(refused) or None,
        metadata={grade.value: grades[grade] for grade in Grade},
    )


@dg.asset(group_name="cutover", kinds={"sql"}, deps=["parity"])
def phases(mailover: Mailover) -> dg.MaterializeResult[None]:
    """Which protocol feeds each mailbox, and how far each wave has come."""
    with mailover.workspace() as workspace:
        rows = phase_rows(workspace.index)
        counted = Counter(rows[each.address].phase for each in workspace.config.mailboxes)
        waves = plan(workspace, any_hour=True).waves
    table = [
        dg.TableRecord(
            {
                "wave": wave.name,
                **{phase.value: wave.phases[phase] for phase in Phase},
                "by hand": len(wave.skipped),
                "stopped": wave.stopped or "",
            }
        )
        for wave in waves
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            **{phase.value: counted[phase] for phase in Phase},
            **({"waves": dg.MetadataValue.table(table)} if table else {}),
        }
    )


class To(Enum):
    """The phase to bring mailboxes into."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    GRAPH = "graph"


class Cutover(dg.Config):
    """What the Launchpad asks for."""

    mailboxes: list[str] = Field(description="Addresses of the mailboxes to move.")
    to: To = Field(description="LEGACY, SHADOW or GRAPH.")
    reason: str = Field(min_length=1, description="Why; goes into the journal.")
    actor: str = Field(min_length=1, description="Who wants it; goes into the journal.")
    dry_run: bool = Field(default=True, description="Prove everything, change nothing.")


@dg.op(description="Move mailboxes to another phase; each flip is an observation on the mailbox's partition.")
def move_mailboxes(context: dg.OpExecutionContext, config: Cutover, mailover: Mailover) -> None:
    """Fails, once every mailbox has been seen to, if one was refused."""
    order = Order(Phase(config.to.value), config.actor, config.reason, config.dry_run)
    with mailover.workspace() as workspace:
        outcomes = list(switch_all(workspace, workspace.config.select(config.mailboxes), order))
    _publish(context, outcomes)


@dg.op(description="Move what the policy wants moved now.")
def move_waves(context: dg.OpExecutionContext, mailover: Mailover) -> None:
    """Fails, once every step has been tried, if one was refused."""
    with mailover.workspace() as workspace:
        outcomes = carry_out(workspace, plan(workspace).steps)
    _publish(context, outcomes)


def _publish(context: dg.OpExecutionContext, outcomes: list[Switch]) -> None:
    for each in outcomes:
        context.log.info(f"{each.mailbox}: {each.result}: {each.why}")
        if each.result is Result.DONE:
            metadata = {"from": each.phase_from.value, "to": each.phase_to.value, "grade": _grade(each)}
            context.log_event(dg.AssetObservation("messages", partition=each.mailbox, metadata=metadata))
    refused = {each.mailbox: each.why for each in outcomes if each.result is Result.REFUSED}
    if refused:
        raise dg.Failure(f"{len(refused)} mailboxes stay", metadata={**refused}, allow_retries=False)


def _grade(outcome: Switch) -> str:
    return outcome.parity.grade if outcome.parity else "none needed"


@dg.job(name="cutover", description="Move mailboxes to shadow, graph, or back to legacy.")
def cutover_job() -> None:
    """The Launchpad's form is ``Cutover``; a dry run unless told otherwise."""
    move_mailboxes()


@dg.job(name="waves", description="Move what the policy wants moved now.")
def waves_job() -> None:
    """Started by the sensor ``promote_waves``."""
    move_waves()


@dg.sensor(job=waves_job, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.RUNNING)
def promote_waves(context: dg.SensorEvaluationContext, mailover: Mailover) -> dg.RunRequest | dg.SkipReason:
    """Start ``waves`` when the policy wants something moved and no such run is under way."""
    under_way = dg.RunsFilter(job_name="waves", statuses=UNDER_WAY)
    if context.instance.get_runs(under_way, limit=1):
        return dg.SkipReason("mailboxes are being moved")
    with mailover.workspace() as workspace:
        made = plan(workspace)
    if made.steps:
        return dg.RunRequest()
    stopped = "; ".join(f"{each.name}: {each.stopped}" for each in made.waves if each.stopped)
    return dg.SkipReason(stopped or "nothing is to be moved now")


phases_job = dg.define_asset_job(
    "count_phases", selection=[phases], description="Count phases and waves for the timeline."
)
phases_schedule = dg.ScheduleDefinition(job=phases_job, cron_schedule="0 * * * *")
