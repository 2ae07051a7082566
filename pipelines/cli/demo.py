"""``mailover demo``: the main job from end to end, on this computer alone."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.cli.output import number, size, stdout, table
from pipelines.cli.search import SHORT_KEY, print_hits
from pipelines.errors import MailoverError, UsageError
from pipelines.index.search import Hit, search
from pipelines.index.status import MailboxStatus
from pipelines.index.status import status as read_status
from pipelines.ingest.workspace import Workspace, open_workspace
from pipelines.lake import Dataset

_NEW_DELIVERIES = 30
_POLL_SECONDS = 0.25


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
    """Bring up a tenant on this computer, ingest its mailboxes through Dagster, search them."""
    _clear(directory)
    console = stdout()
    with _tenant(directory, mail) as tenant:
        environment = {
            **os.environ,
            "MAILOVER_CONFIG": tenant["config"],
            "MAILOVER_CLIENT_SECRET": (directory / "client-secret").read_text(),
            "DAGSTER_HOME": str(_dagster_home(directory)),
        }
        click.echo(
            f"A tenant with {number(tenant['messages'])} messages in {tenant['mailboxes']} mailboxes is up.\n"
        )
        with open_workspace(Path(tenant["config"])) as workspace:
            first = _run(workspace, environment, "First round", tenant["messages"])
            delivered = _deliver_more(directory, tenant["url"])
            second = _run(
                workspace, environment, f"Second round, {delivered} new", tenant["messages"] + delivered
            )
            _print_result(console, workspace, first, second)
            _print_proof(console, workspace, directory, tenant["url"])
            hits = _some(workspace)
            click.echo("\nFive of them:\n")
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
    options = ["--mail", str(mail.absolute())] if mail else []
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


def _run(workspace: Workspace, environment: dict[str, str], title: str, expected: int) -> float:
    """One run of the real Dagster job; seconds it took."""
    log = Path(environment["DAGSTER_HOME"]) / "run.log"
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "assets.definitions", "-j", "ingest"]
    started = monotonic()
    with log.open("a") as output, _display(title, expected) as display:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            display(sum(each.occurrences for each in _states(workspace)))
            sleep(_POLL_SECONDS)
        display(sum(each.occurrences for each in _states(workspace)))
    if process.returncode:
        raise MailoverError(f"the Dagster run failed; its log is {log}")
    return monotonic() - started


@contextmanager
def _display(title: str, total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        click.echo(f"{title} …", err=True)
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def _states(workspace: Workspace) -> list[MailboxStatus]:
    addresses = [each.address for each in workspace.config.mailboxes]
    return read_status(workspace.index, addresses, workspace.clock.now())


def _deliver_more(directory: Path, url: str) -> int:
    """New mail in every mailbox, and a folder renamed: what happens between two rounds."""
    from pipelines.sandbox.control import SandboxControl
    from pipelines.sandbox.mailgen import generate

    control = SandboxControl(directory, url)
    addresses = sorted({each["mailbox"] for each in control.messages()})
    for address in addresses:
        for letter in generate(address, _NEW_DELIVERIES // len(addresses), seed=1):
            control.deliver(address, "Inbox", letter.mime)
    control.close()
    return _NEW_DELIVERIES // len(addresses) * len(addresses)


def _print_result(console: Console, workspace: Workspace, first: float, second: float) -> None:
    states = _states(workspace)
    lake = {each.address: _lake_bytes(workspace, each.address) for each in states}
    columns = [("mailbox", "left"), ("folders", "right"), ("messages", "right"), ("rows", "right")]
    columns += [("mail", "right"), ("in Parquet", "right")]
    rows = [
        (
            each.address,
            each.folders,
            number(each.occurrences),
            number(each.messages),
            size(each.raw_bytes),
            size(lake[each.address]),
        )
        for each in states
    ]
    total = (
        "all",
        sum(each.folders for each in states),
        number(sum(each.occurrences for each in states)),
        number(sum(each.messages for each in states)),
        size(sum(each.raw_bytes for each in states)),
        size(sum(lake.values())),
    )
    console.print(table(columns, [*rows, total]))
    click.echo(
        f"\nSeconds: {first:.1f} for the first round, {second:.1f} for the second, Dagster's start included."
    )


def _lake_bytes(workspace: Workspace, address: str) -> int:
    paths = [path for dataset in Dataset for path in workspace.lake.files(dataset, address)]
    return sum(workspace.lake.size(path) for path in paths)


def _print_proof(console: Console, workspace: Workspace, directory: Path, url: str) -> None:
    """The tenant's own list against what any reader of the Parquet files finds."""
    from pipelines.sandbox.control import SandboxControl

    control = SandboxControl(directory, url)
    delivered = {(each["mailbox"], each["sha256"]) for each in control.messages()}
    delivered = {each for each in delivered if each[0] in {one.address for one in workspace.config.mailboxes}}
    attempts = control.do("attempts")
    control.close()
    found: Counter[tuple[str, str]] = Counter()
    keys: Counter[tuple[str, str]] = Counter()
    for mailbox in workspace.config.mailboxes:
        for counter, dataset, column in (
            (found, Dataset.RAW, "raw_sha256"),
            (keys, Dataset.MESSAGES, "message_key"),
        ):
            for path in workspace.lake.files(dataset, mailbox.address):
                for batch in workspace.lake.read(path, [column]):
                    counter.update((mailbox.address, value) for value in batch.column(0).to_pylist())
    console.print(
        f"Proof: {number(len(delivered))} different messages in the tenant, "
        f"{number(len(found))} in the lake; "
        f"lost {len(delivered - found.keys())}, twice {sum(keys.values()) - len(keys)}, "
        f"attempts to write {len(attempts)}."
    )


def _print_next(directory: Path, hits: list[Hit]) -> None:
    mailover = f".venv/bin/mailover --config {directory}/mailover.yaml"
    click.echo("\nThe tenant is gone again; what it held is yours to look at:\n")
    click.echo(f"  {mailover} status")
    click.echo(f"  {mailover} search 'from:megan has:attachment after:2025'")
    if hits:
        click.echo(f"  {mailover} show {hits[0].message_key[:SHORT_KEY]}")
    click.echo(f"  {mailover} verify")
    click.echo(
        f"  DAGSTER_HOME={directory.absolute()}/dagster MAILOVER_CONFIG={directory.absolute()}/mailover.yaml "
        ".venv/bin/dagster dev -w workspace.yaml"
    )
