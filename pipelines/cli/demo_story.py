"""What the demo does with its tenant: ingest, shadow, parity, the switch, a way back, and the proof."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.cli.output import number, size, stdout, table
from pipelines.cutover.phases import Phase
from pipelines.cutover.report_data import gather
from pipelines.cutover.report_page import write_report
from pipelines.cutover.switch import Order, Switch, switch_all
from pipelines.errors import MailoverError
from pipelines.index.status import MailboxStatus
from pipelines.index.status import status as read_status
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset
from pipelines.mime import normalise

if TYPE_CHECKING:
    from pipelines.sandbox.control import SandboxControl

KIM, POP3, PLANTED = "kim.akers@contoso.com", "alex.wilber@contoso.com", "sales@contoso.com"
_NEW_DELIVERIES = 30
_POLL_SECONDS = 0.25
_BODIES = (("imap", "FETCH"), ("pop3", "RETR"), ("graph", "$VALUE"))
"""What each door counts when a message's content is asked for."""


class Story:
    """The steps, and what is counted along the way."""

    def __init__(self, workspace: Workspace, control: "SandboxControl", directory: Path) -> None:
        self._workspace, self._control, self._directory = workspace, control, directory
        self._console = stdout()
        self._seed = 0
        self._first = (0, 0)

    def tell(self) -> None:
        """All of it, in order."""
        self._round("Ingesting by IMAP and POP3")
        self._first = (self._bodies(), self._rows())
        self._print_mailboxes()
        self._hide_one_from_graph()
        self._move(Phase.SHADOW, "Graph is to be compared")
        self._deliver()
        self._round(f"{self._new} new messages, and both protocols compared")
        self._move(Phase.GRAPH, "the shadow was clean")
        self._deliver()
        self._round(f"{self._new} new messages, by Graph where it feeds now")
        self._move(Phase.LEGACY, "a way back is wanted", [KIM])
        self._deliver()
        self._round(f"{self._new} new messages, by IMAP again for {KIM}")
        self._prove()
        report = self._directory / "report.html"
        write_report(gather(self._workspace), report)
        click.echo(f"The whole way as a page: {report}")

    @property
    def _new(self) -> int:
        return _NEW_DELIVERIES // 3 * 3

    def _deliver(self) -> None:
        """New mail in every mailbox."""
        from pipelines.sandbox.mailgen import generate

        self._seed += 1
        for address in (KIM, POP3, PLANTED):
            for letter in generate(address, _NEW_DELIVERIES // 3, seed=self._seed):
                self._control.deliver(address, "Inbox", letter.mime)

    def _hide_one_from_graph(self) -> None:
        """The planted difference: a message that IMAP shows and Graph does not."""
        inbox = [
            each
            for each in self._control.messages()
            if (each["mailbox"], each["folder"]) == (PLANTED, "Inbox")
        ]
        if inbox:
            self._control.do("hide", address=PLANTED, path="Inbox", uid=inbox[0]["uid"], door="graph")

    def _round(self, title: str) -> None:
        """One run of the real Dagster job."""
        log = Path(os.environ["DAGSTER_HOME"]) / "run.log"
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "assets.definitions"]
        started = monotonic()
        expected = sum(each["mailbox"] in (KIM, POP3, PLANTED) for each in self._control.messages())
        with log.open("a") as output, _display(title, expected) as display:
            process = subprocess.Popen([*command, "-j", "ingest"], stdout=output, stderr=subprocess.STDOUT)
            while process.poll() is None:
                display(sum(each.messages for each in self._states()))
                sleep(_POLL_SECONDS)
            display(expected)
        if process.returncode:
            raise MailoverError(f"the Dagster run failed; its log is {log}")
        click.echo(f"{title}: {monotonic() - started:.1f} s, Dagster's start included.\n")

    def _move(self, to: Phase, reason: str, addresses: list[str] | None = None) -> None:
        order = Order(to, "the demo", reason)
        chosen = self._workspace.config.select(addresses or ())
        outcomes = sorted(switch_all(self._workspace, chosen, order), key=lambda each: each.mailbox)
        columns = [(name, "left") for name in ("mailbox", f"--to {to}", "parity", "")]
        self._console.print(table(columns, [_shown(each) for each in outcomes]))
        click.echo()

    def _states(self) -> list[MailboxStatus]:
        addresses = [each.address for each in self._workspace.config.mailboxes]
        return read_status(self._workspace.index, addresses, self._workspace.clock.now())

    def _print_mailboxes(self) -> None:
        columns = [("mailbox", "left"), ("folders", "right"), ("messages", "right"), ("rows", "right")]
        columns += [("mail", "right"), ("in Parquet", "right")]
        states = self._states()
        lake = {each.address: self._lake_bytes(each.address) for each in states}
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
        self._console.print(table(columns, rows))
        click.echo()

    def _lake_bytes(self, address: str) -> int:
        lake = self._workspace.lake
        return sum(lake.size(path) for dataset in Dataset for path in lake.files(dataset, address))

    def _bodies(self) -> int:
        """How many message bodies the tenant has sent so far."""
        asked = self._control.do("asked")
        return sum(asked[door].get(command, 0) for door, command in _BODIES)

    def _rows(self) -> int:
        return sum(each.messages for each in self._states())

    def _prove(self) -> None:
        """The tenant's own list against what any reader of the Parquet files finds."""
        phases = {each.address: each.phase for each in self._states()}
        rows = []
        for mailbox in self._workspace.config.mailboxes:
            keys = Counter(key for (key,) in self._read(Dataset.MESSAGES, mailbox.address, "message_key"))
            delivered = self._delivered_keys(mailbox.address)
            rows.append(
                (
                    mailbox.address,
                    phases[mailbox.address],
                    number(len(delivered)),
                    number(keys.total()),
                    len(delivered - keys.keys()),
                    keys.total() - len(keys),
                )
            )
        columns = [("mailbox", "left"), ("phase", "left"), ("delivered", "right"), ("rows", "right")]
        self._console.print(table([*columns, ("lost", "right"), ("twice", "right")], rows, "Proof"))
        # Since the first round, each body that was downloaded should have brought a row.
        again = (self._bodies() - self._first[0]) - (self._rows() - self._first[1])
        attempts = self._control.do("attempts")
        click.echo(f"\nBodies downloaded again: {again}. Attempts to write: {len(attempts)}.")

    def _delivered_keys(self, address: str) -> set[str]:
        """Keys of the messages that the tenant holds; for bytes that the lake has, as the lake has them."""
        known: dict[str, str] = dict(self._read(Dataset.RAW, address, "raw_sha256", "message_key"))
        return {
            known.get(each["sha256"])
            or normalise(self._control.read(address, each["folder"], each["uid"])).message_key
            for each in self._control.messages()
            if each["mailbox"] == address
        }

    def _read(self, dataset: Dataset, address: str, *columns: str) -> Iterator[Any]:
        for path in self._workspace.lake.files(dataset, address):
            for batch in self._workspace.lake.read(path, columns):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _shown(outcome: Switch) -> tuple[Any, ...]:
    grade = outcome.parity.grade if outcome.parity else ""
    return outcome.mailbox, outcome.result, grade, outcome.why


@contextmanager
def _display(title: str, total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
