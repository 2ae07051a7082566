"""Lake and index belong together: orphans are swept, and nothing else ever is.

A file that no transaction names is an orphan only if this very index was about to write
it: its name carries the index's id, the lease's epoch and the commit's number. What
cannot be accounted for stops ingestion before anything is touched.
"""

import re
from datetime import datetime
from typing import Any

from pipelines.errors import LakeMismatchError
from pipelines.index.engine import Index
from pipelines.index.files import forget_retired
from pipelines.index.journal import Transition, restore, transitions
from pipelines.index.lease import Lease
from pipelines.index.lookup import file_paths, retired_paths
from pipelines.index.standins import accepted_forms
from pipelines.lake import Dataset, partition
from pipelines.lake.storage import Lake

_STEM = re.compile(r"/([0-9a-f]{8})-(\d+)-(\d+)\.parquet$")
_REMEDY = "run `mailover verify`: it rebuilds the index from the lake and loses nothing"


def next_stem(index: Index, lease: Lease) -> str:
    """The name of the files that the next commit is to name."""
    return f"{index.index_id[:8]}-{lease.epoch}-{lease.commits + 1}"


def claim(lake: Lake, index: Index, lease: Lease) -> int:
    """Sweep the orphans of a mailbox's crashed runs; returns how many there were.

    Raises ``LakeMismatchError`` where the index is empty, older than the lake, or another one's.
    """
    control = lake.read_control(_control_name(lease))
    _check_control(control, index, lease)
    swept = sweep_retired(lake, index, lease)
    listings = {dataset: lake.listing(dataset, lease.address) for dataset in Dataset}
    with index.read() as connection:
        named_in = {dataset: file_paths(connection, lease.mailbox_id, dataset) for dataset in Dataset}
    for dataset, listing in listings.items():
        named, published = named_in[dataset], listing.published
        missing = named - published
        if missing:
            raise LakeMismatchError(
                f"{lease.address}: the lake lacks {len(missing)} of the files the index names, "
                f"such as {min(missing)}",
                remedy=f"check storage.lake; if the files are lost, {_REMEDY}",
            )
        orphans = published - named
        strangers = {path for path in orphans if not _own(path, index, lease)}
        if strangers:
            raise LakeMismatchError(
                f"{lease.address}: the index does not know {len(strangers)} files of the lake, "
                f"such as {min(strangers)}; it is new, older than the lake, or belongs to another one",
                remedy=_REMEDY,
            )
        for path in orphans:
            lake.delete(path)
        for path in listing.staged:
            lake.discard_staged(path)
        swept += len(orphans)
    _check_owner(control, index, lease)
    record_claim(lake, index, lease)
    return swept


def sweep_retired(lake: Lake, index: Index, lease: Lease) -> int:
    """Show the files that commits have put in place of others, and delete those; returns how many.

    Where the lake lacks a file that the index names, nothing is touched: index and lake are
    not of one time, and what was replaced may be all that is left.
    """
    with index.read() as connection:
        retired = retired_paths(connection, lease.mailbox_id)
        if not retired:
            return 0
        named = set().union(*(file_paths(connection, lease.mailbox_id, each) for each in Dataset))
    listings = [lake.listing(dataset, lease.address) for dataset in Dataset]
    published = set().union(*(each.published for each in listings))
    staged = named & set().union(*(each.staged for each in listings))
    if named - published - staged:
        return 0
    replaced = retired & published
    left = set(replaced)
    for path in staged:
        old = {each for each in left if each.rpartition("/")[0] == path.rpartition("/")[0]}
        lake.take_place(path, old)
        left -= old
    for path in left:
        lake.delete(path)
    lake.discard_aside(lease.address)
    forget_retired(index, lease)
    return len(replaced)


def record_claim(lake: Lake, index: Index, lease: Lease) -> None:
    """Leave word in the lake of how far the index had come, of the mailbox's phases and accepted forms.

    An older copy of the index is recognised by it, and a lost one gets its decisions back.
    """
    with index.read() as connection:
        accepted = accepted_forms(connection, lease.mailbox_id)
        journal = transitions(connection, lease.mailbox_id)
    lake.write_control(
        _control_name(lease),
        {
            "index_id": index.index_id,
            "epoch": lease.epoch,
            "commits": lease.commits,
            "journal": [each.to_json() for each in journal],
            "accepted": accepted,
        },
    )


def restore_journal(lake: Lake, index: Index, lease: Lease, now: datetime) -> None:
    """Take over the phases that the lake knows and the index does not."""
    control = lake.read_control(_control_name(lease))
    if control:
        restore(index, lease, [Transition.from_json(each) for each in control.get("journal", ())], now)


def accepted_in_lake(lake: Lake, lease: Lease) -> list[dict[str, Any]]:
    """The accepted forms of the mailbox that ``record_claim`` last left word of."""
    control = lake.read_control(_control_name(lease)) or {}
    accepted: list[dict[str, Any]] = control.get("accepted", [])
    return accepted


def last_numbers(lake: Lake, index: Index, lease: Lease) -> tuple[int, int]:
    """The highest epoch and commit number that this index has left in the lake; (0, 0) for none."""
    control = lake.read_control(_control_name(lease))
    numbers = [(0, 0)]
    if control and control["index_id"] == index.index_id:
        numbers.append((control["epoch"], control["commits"]))
    for dataset in Dataset:
        for path in lake.files(dataset, lease.address):
            named = _STEM.search(path)
            if named and named[1] == index.index_id[:8]:
                numbers.append((int(named[2]), int(named[3])))
    return max(epoch for epoch, _ in numbers), max(commits for _, commits in numbers)


def _check_control(control: dict[str, Any] | None, index: Index, lease: Lease) -> None:
    if control is None or control["index_id"] != index.index_id:
        return
    if control["epoch"] >= lease.epoch or control["commits"] > lease.commits:
        raise LakeMismatchError(
            f"{lease.address}: the index is older than the lake (it was restored from a copy)", remedy=_REMEDY
        )


def _check_owner(control: dict[str, Any] | None, index: Index, lease: Lease) -> None:
    """Without a file in the lake it is the mailbox's phase that another index would lose."""
    if control and control["index_id"] != index.index_id:
        raise LakeMismatchError(
            f"{lease.address}: the lake was written with another index, which knew the mailbox's phase",
            remedy=_REMEDY,
        )


def _control_name(lease: Lease) -> str:
    return f"mailboxes/{partition(lease.address)}"


def _own(path: str, index: Index, lease: Lease) -> bool:
    named = _STEM.search(path)
    if not named:
        return False
    index_id, epoch, number = named.groups()
    return (
        index_id == index.index_id[:8]
        and lease.adopted_epoch < int(epoch) < lease.epoch
        and int(number) <= lease.commits + 1
    )
