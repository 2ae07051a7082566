"""Recognising messages in a listing: no body is downloaded for what the lake already has.

A listing proves less than bytes do, so it has to be the only one of its kind on both
sides, to agree in the server's own time where both sides know it and, within one protocol,
in size, and must not have been changed since the mailbox was last read.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from pipelines.index.candidates import Candidate, Held, candidates, held_by_others
from pipelines.index.lookup import Elsewhere, Known
from pipelines.sources.base import Entry

_CLOCKS_DIFFER = timedelta(seconds=5)
"""By how much the server's clock may differ from ours, its whole seconds included."""


@dataclass(slots=True)
class Links:
    """What one walk over a mailbox has recognised from its listing."""

    marks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Marks of content that were listed under the same headers, by header key."""
    doubted: set[str] = field(default_factory=set)
    """Message keys that ids with different marks could stand for: one of them at most is right."""
    settled: int = 0
    """Ids that were matched, or taken in, after they had waited."""


def recognise(
    connection: sa.Connection,
    mailbox_id: int,
    protocol: str,
    entries: Sequence[Entry],
    in_place: str,
    taken: set[str],
    links: Links,
    *,
    new_here: bool,
) -> dict[str, str]:
    """Message keys by native id, for the entries that stand for a message of the lake.

    ``in_place``: the folder, as ``pipelines.index.candidates.place`` has it. ``taken``: message
    keys it has been given already; it and ``links`` are extended by what is found. ``new_here``:
    only messages count that this protocol never showed, since an edit gives a message a new id
    there.
    """
    header_keys = [each.identity.header_key if each.identity else None for each in entries]
    seen = Counter(header_keys)
    known = candidates(
        connection, mailbox_id, protocol, [key for key in header_keys if key and seen[key] == 1]
    )
    held = held_by_others(connection, mailbox_id, protocol) if known else []
    found: dict[str, str] = {}
    for entry, header_key in zip(entries, header_keys, strict=True):
        if header_key and entry.content_mark:
            links.marks[header_key].add(entry.content_mark)
    for entry, header_key in zip(entries, header_keys, strict=True):
        some = known.get(header_key, []) if header_key else []
        if len(some) != 1 or not _is_marked_alike(entry, header_key, some[0], links):
            continue
        if some[0].message_key in taken or changed_since(entry, some[0], in_place):
            continue
        if any(may_be_held(entry, header_key, each) for each in held):
            continue
        if _agrees(entry, some[0]) and not (new_here and some[0].shown_before):
            taken.add(some[0].message_key)
            found[entry.native_id] = some[0].message_key
    return found


def changed_since(entry: Entry, candidate: Candidate, in_place: str) -> bool:
    """Whether what is listed may have come, or been edited, after the candidate was read.

    Where a protocol does not tell times of change, an edit gives a message another id. What
    was last changed when the candidate came was never edited; nor was, where nobody knows when
    that was, what was last changed when it came itself.
    """
    if not candidate.read_at:
        return True
    read_at = candidate.read_at.get(in_place)
    if entry.modified_at is None:
        read_at = read_at or max(candidate.read_at.values())
    if read_at is None:
        return True
    changed_at = entry.modified_at or entry.received_at
    if changed_at is None:
        return False
    if candidate.received_by_server:
        if _second(changed_at) == _second(candidate.received_at):
            return False
    elif entry.modified_at and _second(entry.modified_at) == _second(entry.received_at):
        return changed_at > read_at + _CLOCKS_DIFFER
    return changed_at > read_at - _CLOCKS_DIFFER


def may_be_held(entry: Entry, header_key: str | None, held: Held) -> bool:
    """Whether what is listed may be what another protocol cannot deliver, and so no message of the lake."""
    if held.header_key is not None:
        return held.header_key == header_key
    if held.received_at is None or entry.received_at is None:
        return True
    return abs(held.received_at - entry.received_at) <= _CLOCKS_DIFFER


def is_edited(entry: Entry, known: Known) -> bool:
    """Whether the listing shows other content under an id than what was read under it."""
    if entry.content_mark is None:
        return False
    if known.content_mark is None:
        # The index was rebuilt, which forgets marks.
        return entry.modified_at is not None and entry.modified_at > known.first_seen_at - _CLOCKS_DIFFER
    return entry.content_mark != known.content_mark


def has_moved(entry: Entry, elsewhere: Elsewhere) -> bool:
    """Whether a mailbox-wide id, seen in another folder before, shows the same content here."""
    return entry.content_mark is not None and entry.content_mark == elsewhere.content_mark


def _is_marked_alike(entry: Entry, header_key: str | None, candidate: Candidate, links: Links) -> bool:
    """Whether everything that this protocol shows under the headers has the same content."""
    if entry.content_mark is None or header_key is None:
        return True
    if candidate.in_quarantine or (candidate.content_marks | links.marks[header_key]) != {entry.content_mark}:
        links.doubted.add(candidate.message_key)
        return False
    return True


def _agrees(entry: Entry, candidate: Candidate) -> bool:
    # What stands in for a message is no reason not to fetch it.
    if candidate.fidelity != "mime":
        return False
    # POP3 and mail files know no time of receipt, and IMAP's is in whole seconds.
    timed = candidate.received_by_server and entry.received_at is not None
    if timed and _second(entry.received_at) != _second(candidate.received_at):
        return False
    return not candidate.listed_sizes or entry.size in candidate.listed_sizes


def _second(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(microsecond=0)
