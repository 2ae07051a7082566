"""``mailover setup``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, print_json
from pipelines.config import load_config
from pipelines.doctor.setup import close_mailboxes, open_mailboxes, script


@click.command()
@click.argument("mailboxes", nargs=-1)
@click.option("--after-cutover", is_flag=True, help="Print what takes IMAP and POP3 away again.")
@json_option
@click.pass_obj
def setup(config: Path | None, mailboxes: tuple[str, ...], after_cutover: bool, as_json: bool) -> None:
    """Print the PowerShell that opens MAILBOXES, or all, to the application."""
    loaded = load_config(config)
    chosen = loaded.select(mailboxes)
    steps = close_mailboxes(loaded, chosen) if after_cutover else open_mailboxes(loaded, chosen)
    if as_json:
        print_json([command for step in steps for command in step.to_json()])
        return
    purpose = "takes IMAP and POP3 away from" if after_cutover else "opens the mailboxes to"
    click.echo(
        script(
            steps,
            [
                f"What {purpose} the application {loaded.tenant.client_id} in the tenant {loaded.tenant.id}.",
                "Read it, then run it in PowerShell 7, step by step; it may be run again.",
            ],
        ),
        nl=False,
    )
