"""What has to be true when all is quiet, worked out from the tenant's side and a plain reading of the lake.

Nothing here asks the code under test what it thinks; rows are read as any reader would read them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import sqlalchemy as sa

from pipelines.cutover.parity import Grade
from pipelines.cutover.phases import Phase
from pipelines.index.journal import phase_row
from pipelines.index.tables import folders, mailboxes, messages, occurrences, quarantine, raws, unmatched
from pipelines.ingest.report import MailboxReport
from pipelines.lake import Dataset
from pipelines.mime import normalise
from pipelines.sandbox import store as tenant
from pipelines.sources.base import ProtocolName
from tests.index_fixture import assert_sums_are_kept
from tests.ingest.model import KIM
from tests.simulation.witness import listing

if TYPE_CHECKING:
    from tests.simulation.world import World

GRAPH = ProtocolName.GRAPH
CONTROL = f"mailboxes/mailbox={KIM.replace('@', '%40')}"
"""Where the lake keeps its copy of the index's own state."""
_COLUMNS = {
    Dataset.RAW: ["raw_sha256", "mime", "message_key", "weak"],
    Dataset.MESSAGES: ["message_key", "raw_sha256"],
}


class InvariantBrokenError(AssertionError):
    """An invariant does not hold: a bug, of Mailover or of what this simulation takes for the truth."""


def demand(holds: bool, otherwise: str) -> None:
    """Raise ``InvariantBrokenError`` unless it holds."""
    if not holds:
        raise InvariantBrokenError(otherwise)


def check(world: "World", report: MailboxReport) -> None:
    """Hold lake and index against the truth, after a pass that nothing disturbed."""
    seen = Seen(world)
    assert_sums_are_kept(world.index)
    faults = [
        *_bytes_are_kept(seen),
        *_nothing_twice(seen),
        *_what_is_shown_now(seen, report),
        *_nothing_lost(seen),
        *_only_what_fed_it(seen),
        *_never_merged_silently(seen),
        *_phase_and_journal(seen),
        *_parity(seen, report),
    ]
    if faults:
        raise InvariantBrokenError("\n".join(faults))


@dataclass
class Seen:
    """Lake and index as they stand, each read once."""

    world: "World"
    occurrences: dict[tuple[str, str, str], "Occurrence"] = field(init=False)
    """Live ones by protocol, folder and native id."""

    def __post_init__(self) -> None:
        with self.world.index.read() as connection:
            self.occurrences = {
                (row.protocol, row.native, row.native_id): Occurrence(
                    row.message_key, row.raw_sha256, row.evidence
                )
                for row in connection.execute(_OCCURRENCES)
            }
            self.held = {tuple(row) for row in connection.execute(_HELD)}
            self.unmatched = {tuple(row) for row in connection.execute(_UNMATCHED)}

    def rows(self, dataset: Dataset) -> list[dict[str, Any]]:
        lake, files = self.world.lake, self.world.files
        found: list[dict[str, Any]] = []
        for path in sorted(lake.files(dataset, KIM)):
            if path not in files:
                with pq.ParquetFile(f"{lake.root}/{path}") as file:
                    files[path] = file.read(_COLUMNS[dataset], use_threads=False).to_pylist()
            found += files[path]
        return found

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        return self.rows(Dataset.MESSAGES)

    @cached_property
    def raws(self) -> list[dict[str, Any]]:
        return self.rows(Dataset.RAW)

    def content(self, digest: str) -> str:
        """The content that these bytes are a form of."""
        return self.world.witness.delivered[digest][1]

    @cached_property
    def contents_of(self) -> dict[str, set[str]]:
        """Contents of the bytes of each message."""
        found: dict[str, set[str]] = defaultdict(set)
        for digest, key in self.message_of.items():
            if digest in self.world.witness.delivered:
                found[key].add(self.content(digest))
        return found

    @cached_property
    def message_of(self) -> dict[str, str]:
        """The message that bytes belong to, as the index has it."""
        with self.world.index.read() as connection:
            return {row.raw_sha256: row.message_key for row in connection.execute(_RAWS)}

    @cached_property
    def primary(self) -> dict[str, str]:
        """The content that each message's row was read from."""
        return {
            row["message_key"]: self.content(row["raw_sha256"])
            for row in self.messages
            if row["raw_sha256"] in self.world.witness.delivered
        }

    def name(self, content: str) -> str:
        """A content for a person: its letter, and whose text it is."""
        letter, kind = self.world.people.letters[content]
        return f"{kind} letter {letter} ({content[:6]})"


@dataclass(frozen=True)
class Occurrence:
    """An id that stands for a message."""

    message_key: str
    raw_sha256: str | None
    evidence: str


_OCCURRENCES = (
    sa.select(
        folders.c.protocol,
        folders.c.native,
        occurrences.c.native_id,
        messages.c.message_key,
        occurrences.c.raw_sha256,
        occurrences.c.evidence,
    )
    .join(folders, folders.c.id == occurrences.c.folder_id)
    .join(messages, messages.c.id == occurrences.c.row_id)
    .where(occurrences.c.removed_at.is_(None))
)
_HELD = (
    sa.select(folders.c.protocol, folders.c.native, quarantine.c.native_id)
    .join(folders, folders.c.id == quarantine.c.folder_id)
    .where(quarantine.c.state == "open")
)
_UNMATCHED = sa.select(folders.c.protocol, folders.c.native, unmatched.c.native_id).join(
    folders, folders.c.id == unmatched.c.folder_id
)

_RAWS = sa.select(raws.c.raw_sha256, messages.c.message_key).join(messages, messages.c.id == raws.c.row_id)


def _bytes_are_kept(seen: Seen) -> Iterable[str]:
    delivered = seen.world.witness.delivered
    for raw in seen.raws:
        digest = tenant._sha256(raw["mime"])
        if digest != raw["raw_sha256"]:
            yield f"bytes are not kept: {raw['raw_sha256'][:6]} has bytes of {digest[:6]}"
        elif digest not in delivered:
            yield f"bytes that nobody delivered: {digest[:6]}"
    kept = {raw["raw_sha256"] for raw in seen.raws}
    for row in seen.messages:
        if row["raw_sha256"] not in kept:
            yield f"a row without its bytes: {row['message_key'][:6]}"


@lru_cache(1000)
def _own_key(mime: bytes) -> str:
    return normalise(mime).message_key


def _nothing_twice(seen: Seen) -> Iterable[str]:
    for key, count in Counter(row["message_key"] for row in seen.messages).items():
        if count > 1:
            yield f"twice: {count} rows of message {key[:6]}"
    for digest, count in Counter(raw["raw_sha256"] for raw in seen.raws).items():
        if count > 1:
            yield f"twice: the bytes {digest[:6]} stand in raw {count} times"
    keys = {row["message_key"] for row in seen.messages}
    expected = {_own_key(raw["mime"]) for raw in seen.raws if not raw["weak"]}
    for key in keys - expected:
        yield f"a row that nothing but a weak match speaks for: {key[:6]}"
    for key in expected - keys:
        yield f"lost: bytes without a row: {key[:6]}"
    for raw in seen.raws:
        if raw["message_key"] not in keys:
            yield f"lost: bytes of a message without a row: {raw['message_key'][:6]}"


def _nothing_lost(seen: Seen) -> Iterable[str]:
    rows = set(seen.primary.values())
    for content, where in seen.world.witness.owed.items():
        if content not in rows and content not in seen.world.witness.excused:
            yield f"lost: {seen.name(content)}: {where}, and no row has it"


def _only_what_fed_it(seen: Seen) -> Iterable[str]:
    for content in set(seen.primary.values()) - seen.world.witness.fed:
        yield f"{seen.name(content)} has a row, and no protocol that fed the lake has delivered it"


def _never_merged_silently(seen: Seen) -> Iterable[str]:
    """Bytes belong to their message; a weak match joins two protocols' forms and nothing else."""
    delivered = seen.world.witness.delivered
    for raw in seen.raws:
        key = seen.message_of.get(raw["raw_sha256"])
        if key is None or raw["raw_sha256"] not in delivered:
            yield f"the index does not know the bytes {raw['raw_sha256'][:6]}"
            continue
        protocol, content = delivered[raw["raw_sha256"]]
        first = seen.primary.get(key, content)
        if content != first and not (seen.world.same_letter(content, first) and protocol is not GRAPH):
            yield f"merged: {seen.name(content)} by {protocol} passes for a form of {seen.name(first)}"
        if content != first and _own_key(raw["mime"]) in seen.primary:
            yield f"merged: {seen.name(content)} has a row, and its bytes are with {seen.name(first)}"


def _what_is_shown_now(seen: Seen, report: MailboxReport) -> Iterable[str]:
    world = seen.world
    feeding = ProtocolName(report.protocol)
    compared = _other(world, feeding) if report.compared else None
    read = [each for each in (feeding, compared) if each]
    for protocol in read:
        yield from _shown_by(seen, protocol, feeds=protocol is feeding)
    if report.folder_errors or report.compare_errors:
        yield f"a quiet pass has errors: {report.folder_errors} {report.compare_errors}"
    for account in (*report.rounds, *report.compared):
        if account.closed_at is None:
            yield f"a quiet round is not closed: {account.path}"
        if account.server_count != account.lake_count:
            yield f"counts differ in {account.path}: {account.server_count}, {account.lake_count}"


def _other(world: "World", protocol: ProtocolName) -> ProtocolName:
    return GRAPH if protocol is world.legacy else world.legacy


def _shown_by(seen: Seen, protocol: ProtocolName, *, feeds: bool) -> Iterable[str]:
    world = seen.world
    listed = listing(world.model, protocol)
    stored = {(native, id_): each for (by, native, id_), each in seen.occurrences.items() if by == protocol}
    held = {(native, id_) for by, native, id_ in seen.held if by == protocol}
    left = {(native, id_) for by, native, id_ in seen.unmatched if by == protocol}
    for place in listed.keys() - stored.keys() - held - left:
        yield f"lost: {protocol} lists {place}: {seen.name(listed[place].sha256)}, which has no outcome"
    for place in (stored.keys() | held | left) - listed.keys():
        yield f"{protocol} does not list {place}, which counts as there"
    for place in (stored.keys() & held) | (stored.keys() & left) | (held & left):
        yield f"{protocol} {place} has two outcomes"
    if feeds and left:
        yield f"lost: {protocol} feeds the lake, and {left} are unmatched"
    for place in held & listed.keys():
        if (protocol, listed[place].immutable_id) not in world.model.poison:
            yield f"{protocol} {place} is in quarantine for no reason that stands"
    for place in stored.keys() & listed.keys():
        yield from _linked_rightly(seen, protocol, place, stored[place], listed[place].sha256)


def _linked_rightly(
    seen: Seen, protocol: ProtocolName, place: tuple[str, str], stored: Occurrence, content: str
) -> Iterable[str]:
    if content not in seen.contents_of[stored.message_key]:
        if _cannot_be_told(seen, protocol, stored, content):
            return
        has = " and ".join(map(seen.name, seen.contents_of[stored.message_key]))
        yield (
            f"lost: {protocol} {place} shows {seen.name(content)} and is linked by {stored.evidence} "
            f"to a message that is {has}"
        )
    elif stored.raw_sha256 and seen.content(stored.raw_sha256) != content:
        yield f"{protocol} {place} shows {seen.name(content)} and names bytes of another content"


def _cannot_be_told(seen: Seen, protocol: ProtocolName, stored: Occurrence, content: str) -> bool:
    """Whether no listing of a legacy protocol tells these two contents apart: see ``blind_links``."""
    first = seen.primary[stored.message_key]
    return (
        protocol is not GRAPH
        and stored.evidence in ("listing", "weak")
        and seen.world.same_letter(content, first)
    )


def _phase_and_journal(seen: Seen) -> Iterable[str]:
    world = seen.world
    found = world.index_journal()
    if found != world.journal:
        yield f"the journal is {found}, and what was done is {world.journal}"
    for before, after in pairwise(found):
        if before[1] != after[0]:
            yield f"the journal has a gap between {before} and {after}"
    phase = phase_row(world.index, KIM).phase
    expected = world.journal[-1][1] if world.journal else Phase.LEGACY
    if phase != expected:
        yield f"the phase is {phase}, and the journal says {expected}"
    control = world.lake.read_control(CONTROL)
    copied = [(each["phase_from"], each["phase_to"]) for each in control["journal"]] if control else None
    if copied != world.journal:
        yield f"the journal's copy in the lake is {copied}, and what was done is {world.journal}"
    with world.index.read() as connection:
        if connection.scalar(sa.select(mailboxes.c.lease_holder)):
            yield "the lease is still held"


def _parity(seen: Seen, report: MailboxReport) -> Iterable[str]:
    if not report.parity:
        if report.compared:
            yield "a quiet comparison has no parity"
        return
    world = seen.world
    inbox = world.legacy is ProtocolName.POP3
    legacy = listing(world.model, world.legacy)
    graph = {
        place: message
        for place, message in listing(world.model, GRAPH).items()
        if not inbox or place[0] == world.model.store.folder(KIM, "Inbox").folder_id
    }
    grade = report.parity.grade
    missing = [each for each in legacy.values() if each.sha256 not in {one.sha256 for one in graph.values()}]
    differs = _places(world, world.legacy, legacy) != _places(world, GRAPH, graph)
    troubled = {id_ for _, id_ in world.model.poison}
    ids = {each.immutable_id for each in (*legacy.values(), *graph.values())}
    if missing and grade in (Grade.PERFECT, Grade.GOOD):
        yield f"parity is {grade}, and Graph lacks {[seen.name(each.sha256) for each in missing]}"
    if differs or troubled & ids:
        return
    weak = {each.sha256 for each in legacy.values() if (GRAPH, each.sha256) in world.model.forms}
    allowed = {Grade.PERFECT} | ({Grade.GOOD} if weak else set())
    if _is_ambiguous(world, weak):
        allowed |= {Grade.INVESTIGATE}
    if grade not in allowed:
        told = [f"{each.kind} {each.folder}: {each.why}" for each in report.parity.differences]
        yield f"parity is {grade}, and nothing differs: {told}"


def _places(
    world: "World", protocol: ProtocolName, shown: dict[tuple[str, str], tenant.Message]
) -> set[tuple[str, str]]:
    """Contents, and the paths at which a protocol shows them."""
    paths = {each.folder_id: each.path for each in world.model.store.mailbox(KIM).folders.values()}
    return {
        (paths[native] if protocol is GRAPH else native.replace("INBOX", "Inbox"), message.sha256)
        for (native, _), message in shown.items()
    }


def _is_ambiguous(world: "World", weak: set[str]) -> bool:
    """Whether a weakly different form cannot be told from another message's: other contents have its
    headers, it is a draft, or it has no Message-ID."""
    letters = world.people.letters
    contents = Counter(letter for letter, _ in letters.values())
    drafts = {each.sha256 for folder, each in world.people.messages() if folder.role == "drafts"}
    return any(
        contents[letters[each][0]] > 1 or letters[each][1] == "anonymous" or each in drafts for each in weak
    )
