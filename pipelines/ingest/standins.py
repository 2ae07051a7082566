"""Accepted forms in the lake: what a rebuilt index learns of them, how they make way for their message."""

from collections.abc import Collection, Iterable

import pyarrow as pa

from pipelines.index.lease import Lease
from pipelines.index.standins import StandIn, accepted_forms, restore
from pipelines.ingest.ownership import accepted_in_lake
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset, year_of
from pipelines.lake.storage import Lake


def restore_accepted(workspace: Workspace, lease: Lease, without: Collection[str]) -> dict[str, str]:
    """Let the index know again what was accepted in the mailbox, should it have lost that.

    Returns the forms whose message has come: the digest of its MIME by that of the form.
    ``without``: files of ``raw`` that cannot be read.
    """
    kept = accepted_in_lake(workspace.lake, lease)
    if kept:
        restore(workspace.index, lease, kept, workspace.clock.now())
    with workspace.index.read() as connection:
        kept += accepted_forms(connection, lease.mailbox_id)
    came = {each["fallback_sha256"]: each["message_sha256"] for each in kept}
    came = {form: message for form, message in came.items() if form != message}
    present = _present(workspace.lake, lease.address, set(came.values()), without) if came else set()
    return {form: message for form, message in came.items() if message in present}


def rest_of_files(lake: Lake, leaving: Iterable[StandIn]) -> dict[int, dict[str, pa.Table]]:
    """The rows that stay of the files in which stand-ins have theirs, by year and path."""
    keys: dict[str, set[str]] = {}
    for each in leaving:
        keys.setdefault(each.path, set()).add(each.message_key)
    rest: dict[int, dict[str, pa.Table]] = {}
    for path, left in keys.items():
        table = pa.Table.from_batches(lake.read(path))
        stays = [key not in left for key in table["message_key"].to_pylist()]
        rest.setdefault(year_of(path), {})[path] = table.filter(stays)
    return rest


def _present(lake: Lake, address: str, digests: set[str], without: Collection[str]) -> set[str]:
    found: set[str] = set()
    for path in lake.files(Dataset.RAW, address) - set(without):
        for batch in lake.read(path, ["raw_sha256"]):
            found.update(digests & set(batch.column(0).to_pylist()))
    return found
