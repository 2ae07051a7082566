"""``mailover demo``: mailboxes on their way to Graph and back, on this computer alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from pipelines.cli.demo_story import KIM, PLANTED, POP3, Story
from pipelines.cli.output import number
from pipelines.cli.search import SHORT_KEY, print_hits
from pipelines.errors import UsageError
from pipelines.index.search import Hit, search
from pipelines.ingest.workspace import Workspace, open_workspace


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where everything goes; an earlier demo there is replaced.",
)
@click.option(
    "--mail", type=click.Path(path_type=Path), help="Your own mail: an mbox, Maildir or .eml folder."
)
def demo(directory: Path, mail: Path | None) -> None:
    """Bring up a tenant on this computer, ingest its mailboxes, move them to Graph, and one back."""
    from pipelines.sandbox.control import SandboxControl

    _clear(directory)
    with _tenant(directory, mail) as tenant:
        environment = {
            "MAILOVER_CONFIG": tenant["config"],
            "MAILOVER_CLIENT_SECRET": (directory / "client-secret").read_text(),
            "DAGSTER_HOME": str(_dagster_home(directory)),
        }
        os.environ |= environment
        click.echo(
            f"A tenant with {number(tenant['messages'])} messages in {tenant['mailboxes']} mailboxes is up: "
            f"{KIM} and {PLANTED} are read by IMAP, {POP3} by POP3.\n"
        )
        control = SandboxControl(directory, tenant["url"])
        with closing(control), open_workspace(Path(tenant["config"])) as workspace:
            story = Story(workspace, control, directory)
            story.tell()
            hits = _some(workspace)
            click.echo("\nFive of the messages:\n")
            print_hits(hits)
    _print_next(directory, hits)


def _some(workspace: Workspace) -> list[Hit]:
    """Five messages of the first round, with attachments if there are such."""
    before = f"before:{workspace.clock.now():%Y-%m-%d}"
    return search(workspace.index, f"has:attachment {before}", 5) or search(workspace.index, before, 5)


def _clear(directory: Path) -> None:
    if not directory.exists():
        return
    if any(directory.iterdir()) and not (directory / "control-token").exists():
        raise UsageError(f"{directory} is there and holds no demo", remedy="name another with --directory")
    shutil.rmtree(directory)


@contextmanager
def _tenant(directory: Path, mail: Path | None) -> Iterator[dict[str, Any]]:
    options = ["--pop3", POP3, *(["--mail", str(mail.absolute())] if mail else [])]
    command = [sys.executable, "-m", "pipelines.sandbox", "--directory", str(directory), "--with-parent"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise UsageError("the sandbox tenant did not start; its reason stands above")
        try:
            yield json.loads(line)
        finally:
            process.terminate()


def _dagster_home(directory: Path) -> Path:
    """An instance of its own, with the project's local settings."""
    home = (directory / "dagster").absolute()
    home.mkdir(mode=0o700)
    assets = find_spec("assets")
    assert assets
    assert assets.origin
    shutil.copy(Path(assets.origin).parent / "instance" / "local" / "dagster.yaml", home)
    return home


def _print_next(directory: Path, hits: list[Hit]) -> None:
    mailover = f".venv/bin/mailover --config {directory}/mailover.yaml"
    click.echo("\nThe tenant is gone again; what it held is yours to look at:\n")
    click.echo(f"  {mailover} status")
    click.echo(f"  {mailover} history")
    click.echo(f"  {mailover} search 'from:megan has:attachment after:2025'")
    if hits:
        click.echo(f"  {mailover} show {hits[0].message_key[:SHORT_KEY]}")
    click.echo(f"  {mailover} verify")
    click.echo(
        f"  DAGSTER_HOME={directory.absolute()}/dagster MAILOVER_CONFIG={directory.absolute()}/mailover.yaml "
        ".venv/bin/dagster dev -w workspace.yaml"
    )
