"""``mailover search``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, moment, print_json, size, stdout, table
from pipelines.index.search import GRAMMAR, Hit
from pipelines.index.search import search as search_index
from pipelines.ingest.workspace import open_workspace

SHORT_KEY = 10
"""Enough of a message key to name one message among millions."""


@click.command(epilog=f"A query: {GRAMMAR}.")
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Newest first.")
@json_option
@click.pass_obj
def search(config: Path | None, query: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find messages by words and fields."""
    with open_workspace(config) as workspace:
        hits = search_index(workspace.index, " ".join(query), limit)
    if as_json:
        print_json([each.to_json() for each in hits])
    elif hits:
        print_hits(hits)
    else:
        click.echo("nothing found", err=True)


def print_hits(hits: list[Hit]) -> None:
    """Found messages as a table, each with the key that ``show`` takes."""
    columns = [("key", "left"), ("received (UTC)", "left"), ("mailbox", "left"), ("from", "left")]
    stdout().print(
        table(
            [*columns, ("subject", "left"), ("size", "right")],
            [
                (
                    each.message_key[:SHORT_KEY],
                    moment(each.received_at),
                    each.mailbox.partition("@")[0],
                    each.sender,
                    each.subject,
                    size(each.size),
                )
                for each in hits
            ],
        )
    )
