"""``mailover show``."""

import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli.output import json_option, print_json, size
from pipelines.ingest.reading import read_message, read_mime
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.argument("key")
@click.option("--raw", is_flag=True, help="Write the MIME as the server delivered it.")
@json_option
@click.pass_obj
def show(config: Path | None, key: str, raw: bool, as_json: bool) -> None:
    """Show the message whose key is, or begins with, KEY."""
    with open_workspace(config) as workspace:
        if raw:
            sys.stdout.buffer.write(read_mime(workspace, key))
            return
        message = read_message(workspace, key)
    if as_json:
        print_json(message)
    else:
        _print_message(message)


def _print_message(message: dict[str, Any]) -> None:
    for name in ("from", "to", "cc"):
        if message[name]:
            people = ", ".join(f"{each['name']} <{each['address']}>".strip() for each in message[name])
            click.echo(f"{name.capitalize() + ':':12}{people}")
    click.echo(f"{'Subject:':12}{message['subject']}")
    click.echo(f"{'Sent:':12}{message['sent_at'] or 'no date'}")
    click.echo(f"{'Received:':12}{message['received_at']}")
    click.echo(f"{'Mailbox:':12}{message['mailbox']}: {', '.join(message['folders'])}")
    for part in message["attachments"]:
        click.echo(
            f"{'Attached:':12}{part['name'] or 'unnamed'} ({part['media_type']}, {size(part['size'])})"
        )
    if message["fidelity"] != "mime":
        click.echo(f"{'Fidelity:':12}{message['fidelity']}, accepted in place of the message itself")
    if message["defects"]:
        click.echo(f"{'Defects:':12}{', '.join(message['defects'])}")
    click.echo(f"{'Key:':12}{message['message_key']}\n")
    click.echo(message["text"] or "(no text)")
