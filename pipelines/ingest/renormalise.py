"""Reading the lake's bytes again with the present normaliser: never the server.

One file of ``messages`` after the other is replaced, each in one transaction, so that a
crash leaves every row in its old or its new form.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.index.changes import NewMessage
from pipelines.index.files import Replacement, StoredBytes, bytes_of_file, outdated_files, replace_file
from pipelines.index.lease import Lease
from pipelines.index.lookup import message_rows
from pipelines.ingest.ownership import claim, next_stem, record_claim, sweep_retired
from pipelines.ingest.workspace import Workspace
from pipelines.lake import DataFile, Dataset, MessageRow
from pipelines.lake.schema import messages_table
from pipelines.mime import NORMALISER_VERSION, Record, normalise, plain_text


def renormalise(workspace: Workspace, lease: Lease, *, everything: bool = False) -> int:
    """Claim the mailbox, and bring its ``messages`` to the present normaliser; returns the rows written.

    Whatever brings mail begins with it: message keys of two versions never match, so that a row
    of an older one would not be recognised. ``everything``: rows of the present version too.
    """
    rows = 0
    claim(workspace.lake, workspace.index, lease)
    outdated = outdated_files(workspace.index, lease, None if everything else NORMALISER_VERSION)
    for path in outdated:
        rows += _renormalise_file(workspace, lease, path)
        sweep_retired(workspace.lake, workspace.index, lease)
    if outdated:
        record_claim(workspace.lake, workspace.index, lease)
    return rows


def _renormalise_file(workspace: Workspace, lease: Lease, path: str) -> int:
    with workspace.index.read() as connection:
        everything = bytes_of_file(connection, lease.mailbox_id, path)
        read = dict(_read_bytes(workspace, everything))
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


def _read_bytes(
    workspace: Workspace, stored: Iterable[StoredBytes]
) -> Iterator[tuple[str, tuple[Record, dict[str, Any]]]]:
    """Record and circumstances by digest, for all bytes asked for."""
    wanted: dict[str, set[str]] = {}
    for each in stored:
        wanted.setdefault(each.path, set()).add(each.raw_sha256)
    for path, digests in wanted.items():
        for batch in workspace.lake.read(path):
            for raw in rows_of(batch):
                if raw["raw_sha256"] in digests:
                    yield raw["raw_sha256"], (normalise(raw["mime"]), circumstances_of(raw))


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch, one at a time: a batch of MIME as Python objects would double its memory."""
    for offset in range(batch.num_rows):
        row: dict[str, Any] = batch.slice(offset, 1).to_pylist()[0]
        yield row


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
