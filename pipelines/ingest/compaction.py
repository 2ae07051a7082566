"""Merging a mailbox's small files, so that years of small rounds do not end in a hundred thousand of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.errors import MailoverError
from pipelines.index.compaction import merge_files, small_files
from pipelines.index.lease import Lease, hold
from pipelines.index.mailboxes import all_addresses
from pipelines.ingest.batch import MAX_MESSAGES
from pipelines.ingest.ownership import claim, next_stem, record_claim, sweep_retired
from pipelines.ingest.passes import contained
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import side_by_side
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset, year_of
from pipelines.lake.schema import MESSAGES_SCHEMA, RAW_SCHEMA
from pipelines.lake.storage import Lake
from pipelines.lake.tiers import Limit, SmallFile, plan

_SCHEMAS = {Dataset.RAW: RAW_SCHEMA, Dataset.MESSAGES: MESSAGES_SCHEMA}

Progress = Callable[[str, str], None]
"""Told the mailbox and the partition whose files are merged."""


def no_progress(_mailbox: str, _partition: str) -> None:
    """Progress for nobody to see."""


@dataclass(slots=True)
class Compaction:
    """What merging has done to one mailbox's part of the lake. Sizes are bytes of files."""

    mailbox: str
    outcome: Outcome = Outcome.DONE
    error: MailoverError | None = None
    merged: int = 0
    """Files that were merged."""
    written: int = 0
    """Files that took their place."""
    rows: int = 0
    bytes: int = 0
    """Of the files written."""
    unreadable: list[str] = field(default_factory=list)
    """Files that were left as they are."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The compaction as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "outcome": self.outcome.value,
            "error": str(self.error) if self.error else None,
            "merged": self.merged,
            "written": self.written,
            "rows": self.rows,
            "bytes": self.bytes,
            "unreadable": self.unreadable,
            "seconds": round(self.seconds, 3),
        }


def compact_all(
    workspace: Workspace, addresses: Sequence[str] | None = None, progress: Progress = no_progress
) -> Iterator[Compaction]:
    """Compact mailboxes side by side, all that the index knows for None; a report for each as it ends."""
    chosen = all_addresses(workspace.index) if addresses is None else addresses
    yield from side_by_side(workspace, chosen, lambda each: compact(workspace, each, progress))


def compact(workspace: Workspace, address: str, progress: Progress = no_progress) -> Compaction:
    """Merge what is worth merging of a mailbox, under its lease. A failure is in the report."""
    done = Compaction(address)
    with contained(workspace, done), hold(workspace.index, address, workspace.clock) as lease:
        claim(workspace.lake, workspace.index, lease)
        for dataset in Dataset:
            for paths in _planned(workspace, lease, dataset):
                progress(address, paths[0].rpartition("/")[0])
                _merge(workspace, lease, dataset, paths, done)
        if done.written:
            record_claim(workspace.lake, workspace.index, lease)
    return done


def limit_of(workspace: Workspace) -> Limit:
    """What a merged file may hold: no more than a batch, so that reading it back takes no more memory."""
    return Limit(MAX_MESSAGES, workspace.config.ingest.batch_bytes)


def _planned(workspace: Workspace, lease: Lease, dataset: Dataset) -> list[tuple[str, ...]]:
    limit = limit_of(workspace)
    by_year: dict[int, list[SmallFile]] = {}
    for each in small_files(workspace.index, lease, dataset, limit):
        by_year.setdefault(year_of(each.paths[0]), []).append(each)
    return [paths for files in by_year.values() for paths in plan(files, limit)]


def _merge(
    workspace: Workspace, lease: Lease, dataset: Dataset, paths: Sequence[str], done: Compaction
) -> None:
    """Publish, commit, take place: the merged file is hidden until the transaction has named it."""
    lake, index = workspace.lake, workspace.index
    tables = dict(_read(lake, paths, done))
    if len(tables) < 2:
        return
    table = pa.concat_tables([_SCHEMAS[dataset].empty_table(), *tables.values()], promote_options="default")
    year, stem = year_of(paths[0]), next_stem(index, lease)
    file = lake.publish(dataset, lease.address, year, stem, table, staged=True)
    merge_files(index, lease, file, list(tables), workspace.clock.now())
    sweep_retired(lake, index, lease)
    done.merged += len(tables)
    done.written += 1
    done.rows += file.rows
    done.bytes += file.size


def _read(lake: Lake, paths: Sequence[str], done: Compaction) -> Iterator[tuple[str, pa.Table]]:
    for path in paths:
        try:
            yield path, pa.Table.from_batches(lake.read(path))
        except (pa.ArrowInvalid, OSError):
            # What is damaged must not grow; `verify` finds it where it is.
            done.unreadable.append(path)
            done.outcome = Outcome.ATTENTION
