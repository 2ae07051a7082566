"""``mailover quarantine``."""

import getpass
import os
from collections.abc import Sequence
from pathlib import Path

import click

from pipelines.cli.ingest import exit_code, print_errors, showing_progress
from pipelines.cli.output import json_option, moment, print_json, span, stdout, table
from pipelines.cutover.passes import read_mailbox
from pipelines.index.quarantine import ALL_STATES, QuarantineEntry, State, entries
from pipelines.ingest import quarantine as library
from pipelines.ingest.reasons import reason_of
from pipelines.ingest.workspace import open_workspace

_ANY = "all"
_NOTHING = "nothing in quarantine"


@click.group()
def quarantine() -> None:
    """Look after messages that a server lists and does not hand over."""


@quarantine.command("list")
@click.argument("mailboxes", nargs=-1)
@click.option("--folder", help="Only this folder, by its path.")
@click.option("--reason", help="Only this reason, such as placeholder.")
@click.option(
    "--state",
    type=click.Choice([*(each.value for each in State), _ANY]),
    default=State.OPEN.value,
    show_default=True,
    help="Only what stands so.",
)
@json_option
@click.pass_obj
def list_command(
    config: Path | None,
    mailboxes: tuple[str, ...],
    folder: str | None,
    reason: str | None,
    state: str,
    as_json: bool,
) -> None:
    """Show what is in quarantine in MAILBOXES, or in all, and what to do about it."""
    with open_workspace(config) as workspace, workspace.index.read() as connection:
        addresses = [each.address for each in workspace.config.select(mailboxes)]
        states = ALL_STATES if state == _ANY else (State(state),)
        found = entries(connection, addresses, states=states, folder=folder, reason=reason)
        now = workspace.clock.now()
    if as_json:
        print_json([each.to_json() for each in found])
        return
    if not found:
        click.echo(_NOTHING, err=True)
        return
    columns = [("id", "left"), ("mailbox", "left"), ("folder", "left"), ("reason", "left"), ("state", "left")]
    columns += [("since", "right"), ("attempts", "right"), ("next (UTC)", "left"), ("kept", "left")]
    stdout().print(
        table(
            columns,
            [
                (
                    each.entry_id,
                    each.mailbox,
                    each.folder,
                    each.reason,
                    each.state,
                    span((now - each.first_seen).total_seconds()),
                    each.attempts,
                    moment(each.next_attempt),
                    _kept(each),
                )
                for each in found
            ],
        )
    )
    _print_remedies(found)


def _kept(entry: QuarantineEntry) -> str:
    if entry.fallback_sha256 is None:
        return "-"
    return entry.fidelity or "to look at"


def _print_remedies(found: Sequence[QuarantineEntry]) -> None:
    for name in sorted({each.reason for each in found if each.state is State.OPEN}):
        reason = reason_of(name)
        click.echo(f"\n{name}: {reason.meaning}\n  → {reason.remedy}")


@quarantine.command()
@click.argument("mailboxes", nargs=-1)
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this entry; can be given again.")
@json_option
@click.pass_obj
def retry(config: Path | None, mailboxes: tuple[str, ...], ids: tuple[str, ...], as_json: bool) -> int:
    """Ask the servers of MAILBOXES, or all, again now for what is in quarantine."""
    with open_workspace(config) as workspace, showing_progress() as progress:
        chosen = workspace.config.select(mailboxes)
        result = library.retry(workspace, chosen, ids, progress, read=read_mailbox)
    if as_json:
        print_json(result.to_json())
    else:
        _print_retry(result)
    return exit_code(result.reports) or int(bool(result.in_state(State.OPEN)))


def _print_retry(result: library.Retry) -> None:
    if not result.entries:
        click.echo(_NOTHING, err=True)
        return
    counts = {
        "stored": State.RESOLVED,
        "gone from the mailbox": State.GONE,
        "by their accepted form": State.ACCEPTED,
        "remaining": State.OPEN,
    }
    click.echo(", ".join(f"{name}: {len(result.in_state(state))}" for name, state in counts.items()))
    for each in result.in_state(State.OPEN):
        said = "not asked for: its folder was not read" if each.entry_id in result.untried else each.detail
        click.echo(f"{each.entry_id}  {each.mailbox}  {each.folder}  {each.reason}: {said}")
    print_errors(result.reports)


@quarantine.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("mailboxes", nargs=-1)
@json_option
@click.pass_obj
def export(config: Path | None, directory: Path, mailboxes: tuple[str, ...], as_json: bool) -> int:
    """Write what is in quarantine in MAILBOXES, or in all, into DIR to look at.

    ID.json describes an entry; ID.eml is what the server sent instead of the message. The
    files are yours alone to read, and none that is there is overwritten.
    """
    with open_workspace(config) as workspace:
        addresses = [each.address for each in workspace.config.select(mailboxes)]
        written = library.export(workspace, addresses, directory)
    if as_json:
        print_json([each.to_json() for each in written])
    elif not written:
        click.echo(_NOTHING, err=True)
    else:
        forms = sum(each.form is not None for each in written)
        click.echo(f"{len(written)} entries, {forms} of them with what the server sent, in {directory}")
        for each in written:
            if each.damage:
                click.echo(str(each.damage), err=True)
    return int(any(each.damage for each in written))


@quarantine.command()
@click.option("--id", "ids", multiple=True, required=True, metavar="ID", help="Can be given again.")
@click.option("--reason", required=True, metavar="TEXT", help="Why it will do; kept with your name.")
@json_option
@click.pass_obj
def accept(config: Path | None, ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Let what was kept of a message stand for it.

    It becomes a message of the lake, whose row says so in its column fidelity. Once
    a day the server is still asked for the message itself, which takes that row's place when
    it comes.
    """
    with open_workspace(config) as workspace:
        accepted = library.accept(workspace, workspace.config.select(()), ids, _actor(), reason)
    if as_json:
        print_json([each.to_json() for each in accepted])
        return
    for each in accepted:
        entry = each.entry
        if entry.state is State.ACCEPTED:
            said = (
                f"accepted by {entry.accepted_by} at {moment(entry.accepted_at)}, message {each.message_key}"
            )
        else:
            said = f"not needed any more: {entry.state}"
        click.echo(f"{entry.entry_id}: {said}")


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # as in a container, without a name
