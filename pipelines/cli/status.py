"""``mailover status``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, moment, number, print_json, size, span, stdout, table
from pipelines.index.status import status as read_status
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1)
@json_option
@click.pass_obj
def status(config: Path | None, mailboxes: tuple[str, ...], as_json: bool) -> int:
    """Show where MAILBOXES, or all, stand: phase, last round, lag, counts, quarantine, parity."""
    with open_workspace(config) as workspace:
        addresses = [each.address for each in workspace.config.select(mailboxes)]
        states = read_status(workspace.index, addresses, workspace.clock.now())
    if as_json:
        print_json([each.to_json() for each in states])
    else:
        columns = [("mailbox", "left"), ("phase", "left"), ("last round (UTC)", "left"), ("lag", "right")]
        columns += [(name, "right") for name in ("messages", "in folders", "bytes", "folders", "quarantine")]
        columns += [("parity", "left")]
        stdout().print(
            table(
                columns,
                [
                    (
                        each.address,
                        each.phase,
                        moment(each.last_round),
                        span(each.lag),
                        number(each.messages),
                        number(each.occurrences),
                        size(each.raw_bytes),
                        each.folders,
                        each.quarantine,
                        each.parity or "",
                    )
                    for each in states
                ],
            )
        )
        for each in states:
            if each.last_error:
                click.echo(f"{each.address}: {each.last_error}", err=True)
    return int(any(each.quarantine or each.last_error for each in states))
