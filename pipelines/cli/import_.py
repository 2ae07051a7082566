"""``mailover import``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from pipelines.cli.output import json_option, number, print_json, size, stderr, stdout, table
from pipelines.ingest import importing
from pipelines.ingest.importing import ImportReport, Position, import_mail
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import open_workspace

_LINE_EVERY = 10.0
"""Seconds between progress lines where there is no terminal to draw on."""
_NAMED = 3
"""Files that are named of those with the same reason; ``--json`` names all."""


@click.command("import")
@click.argument("mailbox")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def import_(config: Path | None, mailbox: str, paths: tuple[Path, ...], as_json: bool) -> int:
    """Bring the mail of files into MAILBOX: mboxes, Maildirs, folders of .eml or .emlx.

    The same files again, or with mail added, bring only what is new.
    """
    with open_workspace(config) as workspace, _progress() as progress:
        report = import_mail(workspace, workspace.config.mailbox(mailbox), paths, progress)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.outcome is Outcome.FAILED and report.error:
        return report.error.exit_code
    return int(report.outcome is not Outcome.DONE)


def _print_report(report: ImportReport) -> None:
    if report.rounds:
        stdout().print(_folders(report))
    if report.error:
        click.echo(f"{report.mailbox}: {report.error}", err=True)
    else:
        click.echo(_summary(report))
    for line in _by_reason(report.passed_over):
        click.echo(f"passed over, {line}")
    for line in _by_reason(report.unreadable):
        click.echo(f"not read, {line}", err=True)
    for path, error in report.folder_errors.items():
        click.echo(f"{path}: {error}", err=True)


def _folders(report: ImportReport) -> Table:
    columns = ("messages", "taken in", "imported before", "quarantined", "size")
    return table(
        [("folder", "left"), *((name, "right") for name in columns)],
        [
            (
                each.path,
                number(each.listed),
                number(each.stored),
                number(each.known),
                each.quarantined,
                size(each.bytes),
            )
            for each in report.rounds
        ],
    )


def _summary(report: ImportReport) -> str:
    stored, known = report.total("stored"), report.total("known")
    found = f"{number(report.total('listed'))} messages in {number(report.mail_files)} files"
    if not stored:
        return f"{found}: nothing new"
    shares = {
        "new to the lake": report.messages,
        "in the lake already": stored - report.messages,
        "imported before": known,
    }
    return f"{found}: " + ", ".join(f"{number(count)} {what}" for what, count in shares.items() if count)


def _by_reason(files: Mapping[str, str]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for path, reason in files.items():
        reasons.setdefault(reason, []).append(path)
    for reason, paths in reasons.items():
        more = f" and {number(len(paths) - _NAMED)} more" if len(paths) > _NAMED else ""
        yield f"{reason}: {', '.join(sorted(paths)[:_NAMED])}{more}"


@contextmanager
def _progress() -> Iterator[importing.Progress]:
    console = stderr()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("looking through the files", total=None)

        def draw(position: Position) -> None:
            display.update(
                task,
                description=_where(position),
                completed=position.bytes,
                total=position.total_bytes,
            )

        yield draw


def _lines() -> importing.Progress:
    began = said = monotonic()

    def say(position: Position) -> None:
        nonlocal said
        now = monotonic()
        if now - said >= _LINE_EVERY:
            said = now
            rate = size(position.bytes / (now - began))
            share = f"{size(position.bytes)} of {size(position.total_bytes)}"
            click.echo(f"{_where(position)}, {share}, {rate}/s", err=True)

    return say


def _where(position: Position) -> str:
    return f"{position.folder}: {number(position.messages)} messages, {number(position.files)} files"
