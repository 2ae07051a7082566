"""``mailover ingest``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.cli.output import json_option, number, print_json, size, stderr, stdout, table
from pipelines.cutover.passes import read_mailbox
from pipelines.index.changes import RoundAccount
from pipelines.ingest import passes
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.turns import in_turn, left_undone
from pipelines.ingest.workspace import open_workspace

LINE_EVERY = 10.0
"""Seconds between progress lines where there is no terminal to draw on."""


@click.command()
@click.argument("mailboxes", nargs=-1)
@click.option("--failed", is_flag=True, help="Only those whose last pass failed or left something undone.")
@json_option
@click.pass_obj
def ingest(config: Path | None, mailboxes: tuple[str, ...], failed: bool, as_json: bool) -> int:
    """Read what is new in MAILBOXES, or in all, once and now; those that have waited longest come first."""
    with open_workspace(config) as workspace, showing_progress() as progress:
        selected = workspace.config.select(mailboxes)
        chosen = left_undone(workspace, selected) if failed else in_turn(workspace, selected)
        reports = list(run_stage(workspace, Stage.RAW_MESSAGES, chosen, progress, read=read_mailbox))
    if as_json:
        print_json({"mailboxes": [each.to_json() for each in reports]})
    else:
        print_reports(reports)
    return exit_code(reports)


def exit_code(reports: Sequence[MailboxReport]) -> int:
    """0 done, 1 something needs attention, 3 where nothing could be reached or signed in to."""
    failed = [each.error for each in reports if each.outcome is Outcome.FAILED and each.error]
    if failed and len(failed) == len(reports):
        codes = {error.exit_code for error in failed}
        return codes.pop() if len(codes) == 1 else 1
    return int(any(each.outcome in (Outcome.FAILED, Outcome.ATTENTION) for each in reports))


def print_reports(reports: Sequence[MailboxReport]) -> None:
    """What the passes did, as a table, and below it what needs a person."""
    stdout().print(
        table(
            [
                ("mailbox", "left"),
                ("", "left"),
                ("folders", "right"),
                ("listed", "right"),
                ("new messages", "right"),
                ("downloaded", "right"),
                ("quarantined", "right"),
                ("seconds", "right"),
            ],
            [
                (
                    each.mailbox,
                    each.outcome,
                    len(each.rounds),
                    number(each.total("listed")),
                    number(each.messages),
                    size(each.total("bytes")),
                    each.total("quarantined"),
                    f"{each.seconds:.1f}",
                )
                for each in sorted(reports, key=lambda each: each.mailbox)
            ],
        )
    )
    print_errors(reports)


def print_errors(reports: Sequence[MailboxReport]) -> None:
    """What needs a person."""
    for each in reports:
        if each.error:
            click.echo(f"{each.mailbox}: {each.error}", err=True)
        for path, error in each.folder_errors.items():
            click.echo(f"{each.mailbox}: {path}: {error}", err=True)
        for path, error in each.compare_errors.items():
            click.echo(f"{each.mailbox}: not compared: {path}: {error}".replace(": :", ":"), err=True)
        if each.parity and each.outcome is Outcome.ATTENTION:
            click.echo(f"{each.mailbox}: parity is {each.parity.grade}: see `mailover parity`", err=True)


@contextmanager
def showing_progress() -> Iterator[passes.Progress]:
    """Progress as a person at a terminal sees it, or a line now and then where there is none."""
    console = stderr()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        tasks: dict[str, object] = {}

        def draw(mailbox: str, account: RoundAccount) -> None:
            if mailbox not in tasks:
                tasks[mailbox] = display.add_task(mailbox, total=None)
            done = number(account.accounted)
            display.update(
                tasks[mailbox],  # type: ignore[arg-type]
                description=f"{mailbox}  {account.path}  {done} messages  {size(account.bytes)}",
                completed=account.accounted,
                total=max(account.listed, 1),
            )

        yield draw


def _lines() -> passes.Progress:
    said: dict[str, float] = {}

    def say(mailbox: str, account: RoundAccount) -> None:
        now = monotonic()
        if now - said.setdefault(mailbox, now) >= LINE_EVERY:
            said[mailbox] = now
            click.echo(
                f"{mailbox}: {account.path}: {number(account.stored + account.known)} messages, "
                f"{size(account.bytes)}",
                err=True,
            )

    return say
