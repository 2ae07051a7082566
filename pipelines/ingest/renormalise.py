"""Reading the lake's bytes again with the present normaliser: never the server.

One file of ``messages`` after the other is replaced, each in one transaction, so that a
crash leaves every row in its old or its new form.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipelines.errors import MailoverError
from pipelines.index.changes import NewMessage
from pipelines.index.files import Replacement, StoredBytes, bytes_of_file, outdated_files, replace_file
from pipelines.index.lease import Lease
from pipelines.index.lookup import message_rows
from pipelines.ingest.ahead import with_records
from pipelines.ingest.ownership import claim, next_stem, record_claim, sweep_retired
from pipelines.ingest.workspace import Workspace
from pipelines.lake import DataFile, Dataset, MessageRow
from pipelines.lake.schema import messages_table
from pipelines.mime import NORMALISER_VERSION, Record, plain_text
from pipelines.mime.process import Made, Unreadable, make_record

_AT_ONCE = 50
"""Rows that become Python objects together."""
_COLUMNS = ("raw_sha256", "mime", "folder", "flags", "received_at", "protocol", "fetched_at", "fidelity")

_Read = dict[str, tuple[Record, dict[str, Any]]]
"""Record and circumstances of bytes, by digest."""


def renormalise(workspace: Workspace, lease: Lease, *, everything: bool = False) -> int:
    """Claim the mailbox, and bring its ``messages`` to the present normaliser; returns the rows written.

    Whatever brings mail begins with it: message keys of two versions never match, so that a row
    of an older one would not be recognised. ``everything``: rows of the present version too.
    """
    rows = 0
    claim(workspace.lake, workspace.index, lease)
    outdated = outdated_files(workspace.index, lease, None if everything else NORMALISER_VERSION)
    with closing(_read_ahead(workspace, lease, outdated)) as files:
        for path, read in files:
            rows += _renormalise_file(workspace, lease, path, read)
            sweep_retired(workspace.lake, workspace.index, lease)
    if outdated:
        record_claim(workspace.lake, workspace.index, lease)
    return rows


def _read_ahead(
    workspace: Workspace, lease: Lease, files: dict[str, int]
) -> Generator[tuple[str, _Read], None, None]:
    """Each file of ``messages`` with what its messages' bytes are read as, while those before it are written.

    ``files``: their rows by path.
    """
    raws = _raws_of(workspace, lease, files)
    with closing(with_records(raws, _mime_of, sum(files.values()), workspace.mime)) as made:
        for path, some in groupby(made, key=lambda each: each[0][0]):
            yield path, dict(_reading(raw, record) for (_, raw), record in some if raw and record)


def _raws_of(
    workspace: Workspace, lease: Lease, paths: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each path by itself, and then with the rows of ``raw`` that belong to it."""
    for path in paths:
        yield path, None
        with workspace.index.read() as connection:
            stored = bytes_of_file(connection, lease.mailbox_id, path)
        for raw in _raws(workspace, stored):
            yield path, raw


def _mime_of(item: tuple[str, dict[str, Any] | None]) -> bytes | None:
    _, raw = item
    return None if raw is None else raw["mime"]


def _reading(raw: dict[str, Any], made: Made) -> tuple[str, tuple[Record, dict[str, Any]]]:
    digest = raw["raw_sha256"]
    if isinstance(made, Unreadable):
        raise MailoverError(
            f"bytes that were read before cannot be read any more: {made.error}, SHA-256 {digest}",
            remedy="files that were read anew before stay so, and the others as they were: report this line; "
            "the next version goes on from here",
        )
    return digest, (made, circumstances_of(raw))


def _renormalise_file(workspace: Workspace, lease: Lease, path: str, read_ahead: _Read) -> int:
    with workspace.index.read() as connection:
        everything = bytes_of_file(connection, lease.mailbox_id, path)
        # A file before it may have brought bytes here, or taken some away, since it was looked at.
        others = [each for each in everything if each.raw_sha256 not in read_ahead]
        made = read_ahead | dict(_reading(raw, make_record(raw["mime"])) for raw in _raws(workspace, others))
        read = {each.raw_sha256: made[each.raw_sha256] for each in everything}
        # Weak matches stay with their message: read by themselves they would be another.
        stored = [each for each in everything if not each.weak]
        forms = {each.raw_sha256: read.pop(each.raw_sha256)[0] for each in everything if each.weak}
        keys = list({record.message_key for record, _ in read.values()})
        elsewhere = message_rows(connection, lease.mailbox_id, keys)
    ours = {each.row_id for each in stored}
    new = Replacement(path)
    new.key_of_bytes = {digest: record.message_key for digest, (record, _) in read.items()}
    new.own_keys = {digest: record.message_key for digest, record in forms.items()}
    rows: dict[str, MessageRow] = {}
    owners: dict[str, int | None] = {}
    for each in stored:
        record, circumstances = read[each.raw_sha256]
        key = record.message_key
        if key in rows or elsewhere.get(key, each.row_id) not in ours:
            if each.primary:
                new.merged[each.row_id] = key
            continue
        rows[key] = MessageRow(record=record, **circumstances)
        owners[key] = each.row_id if each.primary else None
    _write(workspace, lease, new, rows, owners)
    replace_file(workspace.index, lease, new, workspace.clock.now())
    return len(rows)


def _write(
    workspace: Workspace,
    lease: Lease,
    new: Replacement,
    rows: dict[str, MessageRow],
    owners: dict[str, int | None],
) -> None:
    for year, some in by_year(rows.values()).items():
        file = publish(workspace, lease, year, some)
        new.files.append(file)
        for row in some:
            message = NewMessage(row, True, file.path, plain_text(row.record))
            owner = owners[row.record.message_key]
            if owner is None:
                new.added.append(message)
            else:
                new.updated[owner] = message


def _raws(workspace: Workspace, stored: Iterable[StoredBytes]) -> Iterator[dict[str, Any]]:
    """The rows of ``raw`` of all bytes asked for."""
    wanted: dict[str, set[str]] = {}
    for each in stored:
        wanted.setdefault(each.path, set()).add(each.raw_sha256)
    for path, digests in wanted.items():
        for batch in workspace.lake.read(path, _COLUMNS):
            yield from (raw for raw in rows_of(batch) if raw["raw_sha256"] in digests)


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch, some at a time: all of its MIME as Python objects would double its memory."""
    for offset in range(0, batch.num_rows, _AT_ONCE):
        yield from batch.slice(offset, _AT_ONCE).to_pylist()


def circumstances_of(raw: dict[str, Any]) -> dict[str, Any]:
    """What a row of ``raw`` knows beside the bytes, as fields of ``MessageRow``."""
    return {
        "folders": [raw["folder"]],
        "flags": raw["flags"],
        "received_at": raw["received_at"],
        "protocol": raw["protocol"],
        "fetched_at": raw["fetched_at"],
        "fidelity": raw["fidelity"],
    }


def by_year(rows: Iterable[MessageRow]) -> dict[int, list[MessageRow]]:
    """Rows by the partition they belong to."""
    found: dict[int, list[MessageRow]] = {}
    for row in rows:
        found.setdefault(row.received_at.year, []).append(row)
    return found


def publish(workspace: Workspace, lease: Lease, year: int, rows: Sequence[MessageRow]) -> DataFile:
    """Write rows as a file of ``messages`` that the next commit is to name."""
    stem = next_stem(workspace.index, lease)
    return workspace.lake.publish(Dataset.MESSAGES, lease.address, year, stem, messages_table(rows))
