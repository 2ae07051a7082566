"""``mailover doctor``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click
from pydantic import ValidationError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from pipelines.cli.findings import render
from pipelines.cli.output import json_option, number, print_json, stderr, stdout
from pipelines.clock import SystemClock
from pipelines.config import MailboxConfig, load_config
from pipelines.doctor import Progress as Told
from pipelines.doctor import examine
from pipelines.errors import UsageError

_WIDEST = 100
_LINE_EVERY = 10.0
"""Seconds between progress lines where there is no terminal to draw on."""


@click.command()
@click.argument("mailboxes", nargs=-1)
@click.option(
    "--must-deny",
    "denied",
    multiple=True,
    metavar="ADDRESS",
    help="A mailbox that the application must not be able to open; it need not be configured.",
)
@json_option
@click.pass_obj
def doctor(config: Path | None, mailboxes: tuple[str, ...], denied: tuple[str, ...], as_json: bool) -> int:
    """Try all that reading MAILBOXES, or all, needs; name what fails, and what mends it."""
    loaded = load_config(config)
    chosen = loaded.select(mailboxes)
    must_deny = [_mailbox(address) for address in denied]
    with _progress() as progress:
        report = examine(loaded, chosen, SystemClock(), must_deny=must_deny, progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(render(report, min(stdout().width, _WIDEST)))
    return report.exit_code


def _mailbox(address: str) -> MailboxConfig:
    try:
        return MailboxConfig(address=address)
    except ValidationError:
        raise UsageError(
            f"--must-deny {address!r} is not an e-mail address", remedy="write it as name@domain"
        ) from None


@contextmanager
def _progress() -> Iterator[Told]:
    console = stderr()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("trying {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("the configuration", total=1)

        def draw(what: str, done: int, of: int) -> None:
            display.update(task, description=what, completed=done, total=of)

        yield draw


def _lines() -> Told:
    said = monotonic()

    def say(what: str, done: int, of: int) -> None:
        nonlocal said
        if monotonic() - said >= _LINE_EVERY:
            said = monotonic()
            click.echo(f"trying {what}: {number(done)} of {number(of)}", err=True)

    return say
