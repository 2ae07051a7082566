"""Recognising messages in a listing: no body is downloaded for what the lake already has.

A listing proves less than bytes do, so it has to be the only one of its kind on both
sides and to agree in the server's own time and, within one protocol, in size.
"""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from pipelines.index.lookup import Candidate, candidates
from pipelines.sources.base import Entry


def recognise(
    connection: sa.Connection, mailbox_id: int, protocol: str, entries: Sequence[Entry], taken: set[str]
) -> dict[str, str]:
    """Message keys by native id, for the entries that stand for a message of the lake.

    ``taken``: message keys this folder has been given already; extended by what is found.
    """
    header_keys = [each.identity.header_key if each.identity else None for each in entries]
    seen = Counter(header_keys)
    known = candidates(
        connection, mailbox_id, protocol, [key for key in header_keys if key and seen[key] == 1]
    )
    found: dict[str, str] = {}
    for entry, header_key in zip(entries, header_keys, strict=True):
        some = known.get(header_key, []) if header_key else []
        if len(some) == 1 and some[0].message_key not in taken and _agrees(entry, some[0]):
            taken.add(some[0].message_key)
            found[entry.native_id] = some[0].message_key
    return found


def _agrees(entry: Entry, candidate: Candidate) -> bool:
    same_time = candidate.received_by_server and entry.received_at == candidate.received_at
    return same_time and (not candidate.listed_sizes or entry.size in candidate.listed_sizes)
