"""``mailover purge``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, number, print_json, size, stderr
from pipelines.errors import UsageError
from pipelines.ingest.purge import Purge, known_mailbox
from pipelines.ingest.purge import purge as purge_mailbox
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("mailbox")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def purge(config: Path | None, mailbox: str, yes: bool, as_json: bool) -> None:
    """Erase everything of MAILBOX from lake and index. Nothing is done to the mailbox itself."""
    with open_workspace(config) as workspace:
        address = known_mailbox(workspace, mailbox)
        if not yes:
            _ask(address)
        with stderr().status(f"erasing {address}"):
            done = purge_mailbox(workspace, address)
    if as_json:
        print_json(done.to_json())
    else:
        _print(done)


def _ask(address: str) -> None:
    click.echo(f"This erases every message of {address} from lake and index. It cannot be undone.", err=True)
    typed = click.prompt("Type the address to go on", default="", show_default=False, err=True)
    if typed.strip().lower() != address:
        raise UsageError(
            "that is not the address; nothing was erased", remedy="type it as shown, or give --yes"
        )


def _print(done: Purge) -> None:
    click.echo(
        f"{done.mailbox}: erased {number(done.rows.get('messages', 0))} messages, "
        f"{number(sum(done.rows.values()))} rows of the index and "
        f"{number(done.files)} files ({size(done.bytes)})"
    )
    if done.configured:
        click.echo(
            "It is configured still: its next round reads it from the beginning. "
            "Take it out of the configuration to keep it away.",
            err=True,
        )
