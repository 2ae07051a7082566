"""``mailover cutover`` and ``mailover history``."""

from pathlib import Path

import click

from pipelines.cli.actor import actor
from pipelines.cli.ingest import showing_progress
from pipelines.cli.output import json_option, moment, print_json, stdout, table
from pipelines.config import MailboxConfig
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Result, Switch, switch
from pipelines.errors import AccessError, LeaseHeldError, MailoverError, UsageError
from pipelines.index.journal import history as read_history
from pipelines.index.journal import phase_row
from pipelines.ingest.stages import side_by_side
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

        def move(mailbox: MailboxConfig) -> Switch | tuple[str, MailoverError]:
            try:
                return switch(workspace, mailbox, order, progress)
            except UsageError:
                raise
            except MailoverError as error:
                return mailbox.address, error

        outcomes = list(side_by_side(workspace, workspace.config.select(mailboxes), move))
    moved = sorted((each for each in outcomes if isinstance(each, Switch)), key=lambda each: each.mailbox)
    failed = dict(sorted(each for each in outcomes if not isinstance(each, Switch)))
    if as_json:
        print_json([*(each.to_json() for each in moved), *(_failure(*each) for each in failed.items())])
    else:
        rows: list[tuple[str, ...]] = [
            (each.mailbox, each.result, each.parity.grade if each.parity else "", each.why) for each in moved
        ]
        rows += [(address, "failed", "", error.message) for address, error in failed.items()]
        columns = [(name, "left") for name in ("mailbox", "", "parity", "")]
        stdout().print(table(columns, rows))
        for error in failed.values():
            click.echo(str(error), err=True)
    return _exit_code(moved, list(failed.values()))


def _failure(address: str, error: MailoverError) -> dict[str, object]:
    result = "busy" if isinstance(error, LeaseHeldError) else "failed"
    return {"mailbox": address, "result": result, "why": str(error)}


def _exit_code(moved: list[Switch], failed: list[MailoverError]) -> int:
    if failed and not moved and all(isinstance(each, AccessError) for each in failed):
        return AccessError.exit_code
    return int(bool(failed) or any(each.result is Result.REFUSED for each in moved))


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
