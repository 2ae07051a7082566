"""``mailover compact``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, number, print_json, size, stderr, stdout, table
from pipelines.ingest.compaction import Compaction, compact_all
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1)
@json_option
@click.pass_obj
def compact(config: Path | None, mailboxes: tuple[str, ...], as_json: bool) -> int:
    """Merge the small files of MAILBOXES, or of all that the index knows."""
    with open_workspace(config) as workspace, stderr().status("") as display:
        chosen = [each.address for each in workspace.config.select(mailboxes)] if mailboxes else None
        reports = sorted(
            compact_all(workspace, chosen, lambda _mailbox, partition: display.update(partition)),
            key=lambda each: each.mailbox,
        )
    if as_json:
        print_json({"mailboxes": [each.to_json() for each in reports]})
    else:
        _print(reports)
    return int(any(each.outcome in (Outcome.FAILED, Outcome.ATTENTION) for each in reports))


def _print(reports: list[Compaction]) -> None:
    columns = [
        ("mailbox", "left"),
        ("", "left"),
        *((name, "right") for name in ("merged", "into", "rows", "size", "seconds")),
    ]
    stdout().print(
        table(
            columns,
            [
                (
                    each.mailbox,
                    each.outcome,
                    each.merged,
                    each.written,
                    number(each.rows),
                    size(each.bytes),
                    f"{each.seconds:.1f}",
                )
                for each in reports
            ],
        )
    )
    for each in reports:
        if each.error:
            click.echo(f"{each.mailbox}: {each.error}", err=True)
        for path in each.unreadable:
            click.echo(f"{each.mailbox}: {path} cannot be read\n  → run `mailover verify`", err=True)
