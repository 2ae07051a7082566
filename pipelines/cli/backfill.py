"""``mailover backfill``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipelines.cli.ingest import LINE_EVERY, exit_code
from pipelines.cli.output import json_option, number, print_json, size, span, stderr, stdout, table
from pipelines.cutover.passes import read_mailbox
from pipelines.errors import UsageError
from pipelines.ingest import backfill as backfills
from pipelines.ingest.advance import Advance
from pipelines.ingest.report import BackfillReport, Outcome
from pipelines.ingest.span import read_span
from pipelines.ingest.stages import side_by_side
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1, required=True)
@click.option("--from", "first", metavar="DATE", required=True, help="The first day, such as 2024-01-31.")
@click.option("--to", "end", metavar="DATE", required=True, help="The first day that is not covered.")
@json_option
@click.pass_obj
def backfill(config: Path | None, mailboxes: tuple[str, ...], first: str, end: str, as_json: bool) -> int:
    """Read what MAILBOXES received from one day up to another, newest month first.

    Days are in UTC. Run again after a stop, it goes on where it was; what the lake has is
    not downloaded again, and live ingestion goes on beside it.
    """
    with open_workspace(config) as workspace, _progress() as progress:
        chosen = workspace.config.select(mailboxes)
        asked = read_span(first, end, workspace.clock.now())
        reports = list(
            side_by_side(
                workspace,
                chosen,
                lambda each: backfills.backfill(workspace, each, asked, progress, read=read_mailbox),
            )
        )
    if as_json:
        print_json({"mailboxes": [each.to_json() for each in reports]})
    else:
        _print_reports(reports)
    # Another run that has the mailbox does not do this one's work.
    return exit_code(reports) or int(any(each.outcome is Outcome.BUSY for each in reports))


def _print_reports(reports: Sequence[BackfillReport]) -> None:
    counts = ("months", "listed", "new messages", "downloaded", "known", "quarantined", "gone", "seconds")
    stdout().print(
        table(
            [("mailbox", "left"), ("", "left"), *((each, "right") for each in counts)],
            [
                (
                    each.mailbox,
                    each.outcome,
                    f"{len(each.months)} of {len(each.span.months())}",
                    number(each.total("listed")),
                    number(each.messages),
                    size(each.total("bytes")),
                    number(each.total("known")),
                    each.total("quarantined"),
                    each.total("gone"),
                    f"{each.seconds:.1f}",
                )
                for each in sorted(reports, key=lambda each: each.mailbox)
            ],
        )
    )
    for each in reports:
        for line in each.undone():
            click.echo(line if line.startswith(each.mailbox) else f"{each.mailbox}: {line}", err=True)
    if any(each.undone() and not isinstance(each.error, UsageError) for each in reports):
        click.echo("Run the same command again: what was read to its end is not read again.", err=True)


@contextmanager
def _progress() -> Iterator[backfills.Progress]:
    console = stderr()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        tasks: dict[str, TaskID] = {}

        def draw(advance: Advance) -> None:
            if advance.mailbox not in tasks:
                tasks[advance.mailbox] = display.add_task(advance.mailbox, total=1.0)
            display.update(tasks[advance.mailbox], description=describe(advance), completed=advance.share)

        yield draw


def _lines() -> backfills.Progress:
    said: dict[tuple[str, bool], float] = {}

    def say(advance: Advance) -> None:
        now, kind = monotonic(), (advance.mailbox, advance.waiting)
        # A wait is said at once, the rest when there is something to say.
        last = said.setdefault(kind, 0.0 if advance.waiting else now)
        if now - last >= LINE_EVERY:
            said[kind] = now
            click.echo(describe(advance), err=True)

    return say


def describe(advance: Advance) -> str:
    """One line: where it is, what is done of what is listed, how fast, and how long yet."""
    if advance.waiting:
        return f"{advance.mailbox}: another run is writing it; waiting for that"
    month = f"{advance.month.since:%Y-%m} " if advance.month else ""
    parts = [
        f"{advance.mailbox}: {month}{advance.folder}",
        f"{number(advance.accounted)} of {number(advance.listed)} messages",
        size(advance.bytes),
        f"{advance.accounted / max(advance.seconds, 1.0):.0f}/s",
        f"{advance.months_done} of {advance.months} months",
    ]
    if advance.remaining is not None:
        parts.append(f"about {span(advance.remaining)} left")
    return ", ".join(parts)
