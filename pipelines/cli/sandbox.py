"""``mailover sandbox``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, number


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("sandbox"),
    show_default=True,
    help="Where its files go.",
)
@click.option(
    "--mail", type=click.Path(path_type=Path), help="An mbox, Maildir or .eml folder to fill it with."
)
@click.option("--mailboxes", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--pop3", multiple=True, metavar="ADDRESS", help="Have this mailbox read by POP3.")
@click.option(
    "--messages", default=2400, show_default=True, type=click.IntRange(min=0), help="Generated, in all."
)
@json_option
def sandbox(
    directory: Path, mail: Path | None, mailboxes: int, pop3: tuple[str, ...], messages: int, as_json: bool
) -> None:
    """Run a tenant on this computer, and print a configuration for it."""
    # Starlette, uvicorn and Twisted are of no use to any other command.
    from pipelines.sandbox.__main__ import announce, wait
    from pipelines.sandbox.server import running

    with running(directory, mailboxes=mailboxes, pop3=pop3, messages=messages, mail=mail) as tenant:
        if as_json:
            announce(tenant)
        else:
            click.echo(f"{number(tenant.messages)} messages in {tenant.mailboxes} mailboxes; Ctrl-C ends it.")
            click.echo("In another terminal:\n")
            click.echo(f"  export MAILOVER_CONFIG={tenant.config}")
            click.echo(f"  export MAILOVER_CLIENT_SECRET=$(cat {tenant.config.parent / 'client-secret'})")
            click.echo("  mailover ingest\n")
            click.echo(tenant.config.read_text())
        wait(with_parent=False)
