"""``mailover cutover`` and ``mailover history``."""

from pathlib import Path

import click

from pipelines.cli.actor import actor
from pipelines.cli.ingest import showing_progress
from pipelines.cli.output import json_option, moment, print_json, stdout, table
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Result, Switch, switch_all
from pipelines.errors import AccessError, UsageError
from pipelines.index.journal import history as read_history
from pipelines.index.journal import phase_row
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1, required=True)
@click.option("--to", "to", type=click.Choice([*Phase]), required=True, help="The phase to bring them into.")
@click.option("--reason", required=True, help="Why; goes into the journal.")
@click.option("--dry-run", is_flag=True, help="Prove everything, change nothing.")
@json_option
@click.pass_obj
def cutover(
    config: Path | None, mailboxes: tuple[str, ...], to: str, reason: str, dry_run: bool, as_json: bool
) -> int:
    """Move MAILBOXES to another phase: shadow, graph, or back to legacy."""
    if not reason.strip():
        raise UsageError("the reason is empty", remedy="--reason goes into the journal: say why")
    order = Order(Phase(to), actor(), reason.strip(), dry_run)
    with open_workspace(config) as workspace, showing_progress() as progress:
        chosen = workspace.config.select(mailboxes)
        outcomes = sorted(switch_all(workspace, chosen, order, progress), key=lambda each: each.mailbox)
    if as_json:
        print_json([each.to_json() for each in outcomes])
    else:
        columns = [(name, "left") for name in ("mailbox", "", "parity", "")]
        stdout().print(
            table(
                columns,
                [
                    (each.mailbox, each.result, each.parity.grade if each.parity else "", each.why)
                    for each in outcomes
                ],
            )
        )
        for each in outcomes:
            if each.error and each.error.remedy:
                click.echo(f"{each.error}", err=True)
    return _exit_code(outcomes)


def _exit_code(outcomes: list[Switch]) -> int:
    errors = [each.error for each in outcomes if each.error]
    if len(errors) == len(outcomes) and all(isinstance(each, AccessError) for each in errors):
        return AccessError.exit_code
    return int(any(each.result in (Result.REFUSED, Result.FAILED) for each in outcomes))


@click.command()
@click.argument("mailboxes", nargs=-1)
@json_option
@click.pass_obj
def history(config: Path | None, mailboxes: tuple[str, ...], as_json: bool) -> None:
    """Show who moved MAILBOXES, or any, to which phase, when and why."""
    with open_workspace(config) as workspace:
        entries = [
            (each.address, transition)
            for each in workspace.config.select(mailboxes)
            for transition in read_history(
                workspace.index, phase_row(workspace.index, each.address).mailbox_id
            )
        ]
    entries.sort(key=lambda entry: entry[1].at)
    if as_json:
        print_json([{"mailbox": address, **each.to_json()} for address, each in entries])
        return
    if not entries:
        click.echo("nothing has been moved yet", err=True)
        return
    columns = [(name, "left") for name in ("when (UTC)", "mailbox", "from", "to", "grade", "who", "why")]
    stdout().print(
        table(
            columns,
            [
                (
                    moment(each.at),
                    address,
                    each.phase_from,
                    each.phase_to,
                    each.grade or "",
                    each.actor,
                    each.reason,
                )
                for address, each in entries
            ],
        )
    )
