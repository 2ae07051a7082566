"""``mailover verify``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, number, print_json, size, stderr, stdout, table
from pipelines.ingest.verify import verify as verify_mailbox
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1)
@json_option
@click.pass_obj
def verify(config: Path | None, mailboxes: tuple[str, ...], as_json: bool) -> int:
    """Check lake against index: hashes, counts, orphans; repair what is derived.

    Without MAILBOXES, all that are configured or have data in the lake.
    """
    console = stderr()
    with open_workspace(config) as workspace:
        chosen = [each.address for each in workspace.config.select(mailboxes)]
        if not mailboxes:
            chosen += sorted(workspace.lake.mailboxes() - set(chosen))
        found = []
        for address in chosen:
            with console.status(address) as display:
                found.append(verify_mailbox(workspace, address, display.update))
    if as_json:
        print_json([each.to_json() for each in found])
    else:
        columns = [
            ("mailbox", "left"),
            *((name, "right") for name in ("files", "messages", "bytes", "orphans")),
        ]
        stdout().print(
            table(
                columns,
                [
                    (each.mailbox, each.files, number(each.messages), size(each.bytes), each.orphans_swept)
                    for each in found
                ],
            )
        )
        for each in found:
            for line in each.repaired:
                click.echo(f"{each.mailbox}: repaired: {line}")
            for line in each.damage:
                click.echo(f"{each.mailbox}: damage: {line}", err=True)
            if each.skipped:
                click.echo(each.skipped, err=True)
    return int(any(each.damage for each in found))
