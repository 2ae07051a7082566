"""What one idle mailbox costs in a scheduled run as the tenant grows from 1 to 10,000 mailboxes.

    python -m benchmarks.many_mailboxes                      by IMAP
    python -m benchmarks.many_mailboxes --protocol graph --mailboxes 1000 --json

Up to fifty mailboxes lie in a sandbox tenant, a process of its own, and are read through its real
doors. The index holds as many as is said: the others are copies of one of them, row for row, with as
many messages each. Nothing has changed on the server. Measured are, for each size of the tenant:

- a pass: CPU milliseconds and SQL statements for each mailbox of a run, in a warm process;
- a run: the same job in Dagster, its events, configuration and index opened, CPU milliseconds for each
  mailbox of it; and a tick of the schedule, CPU milliseconds in all.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import sqlalchemy as sa

from benchmarks.racing import scratch
from pipelines.cutover.passes import read_mailbox
from pipelines.index.tables import mailboxes, metadata
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.turns import batches
from pipelines.ingest.workspace import open_workspace
from tests.sandbox_fixture import RunningSandbox, running_sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)
    warnings.simplefilter("ignore", dg.BetaWarning)
    from assets.definitions import defs

RUN = 50
"""Mailboxes of a run, all of them real."""
SIZES = (1, 10, 100, 1_000, 10_000)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_STRIDE = 1_000_000
"""More than any row id of the real mailboxes."""


class ManyMailboxes:
    """A tenant, of which the configuration and the index know ever more mailboxes."""

    def __init__(self, sandbox: RunningSandbox, protocol: str) -> None:
        self.path = sandbox.directory / "many.yaml"
        self._head = sandbox.config_path.read_text().partition("mailboxes:")[0]
        self._legacy = "" if protocol == "graph" else f"\n    legacy: {protocol}"
        self._real = [each.address for each in sandbox.config.mailboxes]
        self.run: list[str] = []

    def grow(self, size: int) -> None:
        """Let there be ``size`` mailboxes, all read."""
        copies = [f"u{number:06}@contoso.com" for number in range(size - len(self._real))]
        self.run = self._real[:size]
        listed = "".join(f"  - address: {each}{self._legacy}\n" for each in (*self.run, *copies))
        self.path.write_text(f"{self._head}mailboxes:\n{listed}")
        with open_workspace(self.path) as workspace:
            self.read()
            with workspace.index.write() as connection:
                known = connection.scalar(sa.select(sa.func.max(mailboxes.c.id // _STRIDE))) or 0
                copy_mailbox(connection, self.run[-1], copies, int(known))

    def read(self) -> float:
        """A pass of every real mailbox, one after the other; CPU seconds."""
        with open_workspace(self.path) as workspace:
            one_by_one = workspace.config.ingest.model_copy(update={"concurrency": 1})
            workspace.config = workspace.config.model_copy(update={"ingest": one_by_one})
            chosen = workspace.config.select(self.run)
            started = time.process_time()
            for report in run_stage(workspace, Stage.RAW_MESSAGES, chosen, read=read_mailbox):
                assert report.outcome is Outcome.DONE, report.error
            return time.process_time() - started

    def tick(self) -> float:
        """What the schedule's tick does in the pipelines; CPU seconds."""
        started = time.process_time()
        with open_workspace(self.path) as workspace:
            assert batches(workspace, {})
        return time.process_time() - started

    def dagster_run(self, instance: dg.DagsterInstance) -> float:
        """The job, in this process; CPU seconds."""
        config = {**QUIET, "ops": {"mail": {"config": {"mailboxes": self.run}}}}
        started = time.process_time()
        assert defs.resolve_job_def("ingest").execute_in_process(run_config=config, instance=instance).success
        return time.process_time() - started


def copy_mailbox(connection: sa.Connection, template: str, addresses: Sequence[str], known: int) -> None:
    """Rows of one mailbox again for each address; ``known`` of them are there already."""
    if len(addresses) <= known:
        return
    # Opening the workspace has numbered them anew.
    connection.execute(sa.delete(mailboxes).where(mailboxes.c.address.in_(addresses[known:])))
    row_id = connection.scalar(sa.select(mailboxes.c.id).where(mailboxes.c.address == template))
    number = sa.select(sa.literal(known + 1).label("n")).cte("number", recursive=True)
    number = number.union_all(sa.select(number.c.n + 1).where(number.c.n < len(addresses)))
    connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
    for table in metadata.sorted_tables:
        whose = table.c.id if table is mailboxes else table.c.get("mailbox_id")
        if whose is None:
            continue
        columns = [each for each in table.c if each.name != "text_id"]
        values = [_copied(column, number.c.n) for column in columns]
        rows = sa.select(*values).select_from(table.join(number, sa.true())).where(whose == row_id)
        connection.execute(table.insert().from_select([each.name for each in columns], rows))


def _copied(column: sa.Column[Any], number: sa.ColumnElement[int]) -> sa.ColumnElement[Any]:
    if column.primary_key or column.foreign_keys:
        return column + number * _STRIDE
    if column.name == "address":
        return sa.func.printf("u%06d@contoso.com", number - 1)
    if column.name == "path" and column.unique:
        return column + sa.func.printf("-%d", number)
    return column


@contextmanager
def counting() -> Iterator[list[str]]:
    """Every statement that is sent to a database meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@contextmanager
def instance_of(place: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk."""
    home = place / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def measure(
    sizes: Sequence[int] = SIZES, protocol: str = "imap", rounds: int = 3, run: int = RUN
) -> list[dict[str, float]]:
    """For each size of the tenant what a mailbox of a run costs; medians of ``rounds``."""
    with scratch() as place, instance_of(place) as instance:
        options = ["--mailboxes", str(run), "--messages", str(20 * run)]
        with running_sandbox(place / "sandbox", *options) as sandbox:
            many = ManyMailboxes(sandbox, protocol)
            environment = {"MAILOVER_CLIENT_SECRET": sandbox.secret, "MAILOVER_CONFIG": str(many.path)}
            with patch.dict(os.environ, environment):
                return [_row(many, instance, size, rounds) for size in sizes]


def _row(many: ManyMailboxes, instance: dg.DagsterInstance, size: int, rounds: int) -> dict[str, float]:
    many.grow(size)
    instance.add_dynamic_partitions("mailboxes", many.run)

    def median(work: Callable[[], float]) -> float:
        work()  # warms up
        return statistics.median(work() for _ in range(rounds)) * 1000

    with counting() as statements:
        many.read()
    asked = len([each for each in statements if not each.startswith(("BEGIN", "PRAGMA"))])
    return {
        "mailboxes": size,
        "pass_cpu_ms": median(many.read) / len(many.run),
        "pass_statements": asked / len(many.run),
        "run_cpu_ms": median(lambda: many.dagster_run(instance)) / len(many.run),
        "tick_cpu_ms": median(many.tick),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mailboxes", type=int, default=10_000, help="at most (default 10000)")
    parser.add_argument("--protocol", choices=("imap", "graph"), default="imap")
    parser.add_argument("--rounds", type=int, default=3, help="passes that are measured (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    sizes = [each for each in SIZES if each < options.mailboxes] + [options.mailboxes]
    rows = measure(sizes, options.protocol, options.rounds)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['mailboxes']:7,} mailboxes  a pass {row['pass_cpu_ms']:6.1f} ms CPU, "
            f"{row['pass_statements']:5.1f} statements  in a Dagster run {row['run_cpu_ms']:6.1f} ms CPU  "
            f"a tick {row['tick_cpu_ms']:6.1f} ms"
        )


if __name__ == "__main__":
    main()
