"""Rebuilding a mailbox's index from the lake: every file that is there counts, none is lost."""

from collections.abc import Callable, Collection
from typing import Any

from pipelines.index.adopt import FoundRaw, adopt_messages, adopt_raws, forget
from pipelines.index.changes import NewMessage, NewRaw
from pipelines.index.lease import Lease
from pipelines.index.lookup import keys_of_bytes, known_raws, message_rows
from pipelines.ingest.ownership import last_numbers, record_claim, restore_journal, sweep_retired
from pipelines.ingest.renormalise import by_year, circumstances_of, publish, rows_of
from pipelines.ingest.standins import restore_accepted
from pipelines.ingest.workspace import Workspace
from pipelines.lake import DataFile, Dataset, MessageRow
from pipelines.lake.schema import message_row
from pipelines.mime import normalise, plain_text

Progress = Callable[[str], None]
"""Told the path of each file as it is taken up."""


def rebuild(
    workspace: Workspace,
    lease: Lease,
    progress: Progress = lambda _path: None,
    without: Collection[str] = (),
) -> int:
    """Forget the mailbox's index and build it from the lake; returns the number of messages.

    Rows of ``messages`` that are missing, or stand in two files after a crash, are put
    right; ``raw`` is only read. ``without``: files that cannot be read.
    """
    # Replaced files that a crash has left would come back as messages.
    sweep_retired(workspace.lake, workspace.index, lease)
    workspace.lake.discard_aside(lease.address)
    epoch, commits = last_numbers(workspace.lake, workspace.index, lease)
    came = restore_accepted(workspace, lease, without)
    forget(workspace.index, lease, workspace.clock.now(), epoch=epoch, commits=commits)
    restore_journal(workspace.lake, workspace.index, lease, workspace.clock.now())
    messages = 0
    for path in sorted(workspace.lake.files(Dataset.MESSAGES, lease.address)):
        progress(path)
        messages += _adopt_messages(workspace, lease, path, came)
    raw_files = sorted(workspace.lake.files(Dataset.RAW, lease.address) - set(without))
    for path in raw_files:
        progress(path)
        messages += _adopt_raws(workspace, lease, path, came)
    for path in raw_files if came else ():
        _adopt_forms(workspace, lease, path, came)
    record_claim(workspace.lake, workspace.index, lease)
    return messages


def _adopt_messages(workspace: Workspace, lease: Lease, path: str, came: dict[str, str]) -> int:
    rows = [message_row(row) for batch in workspace.lake.read(path) for row in rows_of(batch)]
    wanted = {row.record.message_key: row for row in rows if row.record.raw_sha256 not in came}
    single = _without_row(workspace, lease, wanted)
    if len(single) == len(rows):
        _enter(workspace, lease, workspace.lake.describe(Dataset.MESSAGES, path), single)
        return len(single)
    for year, some in by_year(single).items():
        _enter(workspace, lease, publish(workspace, lease, year, some), some)
    workspace.lake.delete(path)
    return len(single)


def _adopt_raws(workspace: Workspace, lease: Lease, path: str, came: dict[str, str]) -> int:
    """Enter a file of bytes, first the messages that have no row yet; returns how many.

    Accepted forms whose message came stay out: they belong to it, and it may stand in a later file.
    """
    found: list[FoundRaw] = []
    unread: dict[str, MessageRow] = {}
    for batch in workspace.lake.read(path):
        digests = batch.column("raw_sha256").to_pylist()
        forms = {
            raw["raw_sha256"]: normalise(raw["mime"]).message_key for raw in rows_of(batch) if raw["weak"]
        }
        keys = [*batch.column("message_key").to_pylist(), *forms.values()]
        with workspace.index.read() as connection:
            doubled = known_raws(connection, lease.mailbox_id, digests)
            key_of = keys_of_bytes(connection, lease.mailbox_id, digests)
            known = message_rows(connection, lease.mailbox_id, keys)
        for raw in rows_of(batch):
            digest = raw["raw_sha256"]
            if digest in doubled or digest in came:
                continue
            own_key = forms.get(digest)
            named = [each for each in (own_key, raw["message_key"]) if each in known]
            key = key_of.get(digest) or next(iter(named), None)
            if key is None:
                row = MessageRow(record=normalise(raw["mime"]), **circumstances_of(raw))
                key = row.record.message_key
                unread.setdefault(key, row)
            found.append(_found(raw, key, own_key, path))
    missing = _without_row(workspace, lease, unread)
    for year, rows in by_year(missing).items():
        _enter(workspace, lease, publish(workspace, lease, year, rows), rows)
    file = workspace.lake.describe(Dataset.RAW, path)
    adopt_raws(workspace.index, lease, file, found, workspace.clock.now())
    return len(missing)


def _adopt_forms(workspace: Workspace, lease: Lease, path: str, came: dict[str, str]) -> None:
    """Enter the accepted forms of a file of bytes under the messages that came for them."""
    found: list[FoundRaw] = []
    for batch in workspace.lake.read(path):
        forms = came.keys() & set(batch.column("raw_sha256").to_pylist())
        with workspace.index.read() as connection:
            wanted = forms - known_raws(connection, lease.mailbox_id, list(forms)).keys()
            keys = known_raws(connection, lease.mailbox_id, [came[form] for form in wanted])
        found += [
            _found(raw, keys[came[raw["raw_sha256"]]], normalise(raw["mime"]).message_key, path)
            for raw in (rows_of(batch) if wanted else ())
            if raw["raw_sha256"] in wanted
        ]
    if found:
        file = workspace.lake.describe(Dataset.RAW, path)
        adopt_raws(workspace.index, lease, file, found, workspace.clock.now())


def _without_row(workspace: Workspace, lease: Lease, rows: dict[str, MessageRow]) -> list[MessageRow]:
    with workspace.index.read() as connection:
        known = message_rows(connection, lease.mailbox_id, list(rows))
    return [row for key, row in rows.items() if key not in known]


def _enter(workspace: Workspace, lease: Lease, file: DataFile, rows: list[MessageRow]) -> None:
    messages = [NewMessage(row, True, file.path, plain_text(row.record)) for row in rows]
    adopt_messages(workspace.index, lease, file, messages, workspace.clock.now())


def _found(raw: dict[str, Any], key: str, own_key: str | None, path: str) -> FoundRaw:
    return FoundRaw(
        raw=NewRaw(
            raw["raw_sha256"],
            key,
            len(raw["mime"]),
            path,
            raw["protocol"],
            own_key if own_key != key else None,
        ),
        protocol=raw["protocol"],
        folder=raw["folder"],
        native_id=raw["native_id"],
        listed_size=raw["listed_size"],
        received_at=raw["received_at"],
        received_by_server=raw["received_by_server"],
        flags=tuple(raw["flags"]),
        fetched_at=raw["fetched_at"],
    )
