"""``mailover init``."""

from pathlib import Path

import click

from pipelines.config import write_starter_config
from pipelines.config.loading import DEFAULT_PATH


@click.command()
@click.pass_obj
def init(config: Path | None) -> None:
    """Write a commented mailover.yaml."""
    path = config or DEFAULT_PATH
    write_starter_config(path)
    click.echo(f"{path} is written. Fill in tenant and mailboxes, put the client secret into")
    click.echo("MAILOVER_CLIENT_SECRET, and run: mailover doctor")
