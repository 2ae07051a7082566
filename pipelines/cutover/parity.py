"""Both protocols' view of a mailbox compared: what each difference is, and the grade of the whole.

Nothing is asked of a server here: both sides' rounds are closed, and every id they listed
is linked to a message, in quarantine, or unmatched.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from pipelines.cutover.phases import Phase
from pipelines.index.parity import (
    Difference,
    FolderCount,
    Parity,
    Shown,
    count_shown,
    folder_counts,
    matched_by,
    shown_alone,
    shown_elsewhere,
    shown_in_vain,
    shown_once,
    shown_unmatched,
    shown_weakly,
)
from pipelines.sources.base import ProtocolName, Role


class Grade(StrEnum):
    """How well both views agree; the worst difference decides."""

    PERFECT = "perfect"
    """Every message matched by its content or its listing, counts reconciled."""
    GOOD = "good"
    """Nothing is lost by the switch: weak matches, each listed, or mail that only Graph can deliver."""
    INVESTIGATE = "investigate"
    """A listed, explained remainder that a person has to accept by name."""
    POOR = "poor"
    """A message of the legacy protocol that Graph does not have."""


class Kind(StrEnum):
    """What a difference is."""

    MISSING_IN_GRAPH = "missing-in-graph"
    AMBIGUOUS = "ambiguous"
    GRAPH_CANNOT_DELIVER = "graph-cannot-deliver"
    LEGACY_CANNOT_DELIVER = "legacy-cannot-deliver"
    ONLY_IN_GRAPH = "only-in-graph"
    DELIVERED_BY_GRAPH_ONLY = "delivered-by-graph-only"
    WEAK = "weak"
    OTHER_FOLDER = "other-folder"
    COUNT = "count"


GRADES: dict[Kind, Grade] = {
    Kind.MISSING_IN_GRAPH: Grade.POOR,
    Kind.AMBIGUOUS: Grade.INVESTIGATE,
    Kind.GRAPH_CANNOT_DELIVER: Grade.INVESTIGATE,
    Kind.LEGACY_CANNOT_DELIVER: Grade.INVESTIGATE,
    Kind.ONLY_IN_GRAPH: Grade.INVESTIGATE,
    Kind.OTHER_FOLDER: Grade.INVESTIGATE,
    Kind.COUNT: Grade.INVESTIGATE,
    Kind.WEAK: Grade.GOOD,
    Kind.DELIVERED_BY_GRAPH_ONLY: Grade.GOOD,
}
_ACTIONS: dict[Kind, str] = {
    Kind.MISSING_IN_GRAPH: "find it in Outlook; if it is there, compare again in an hour, "
    "else stay on the legacy protocol and open a support case",
    Kind.AMBIGUOUS: "look at both with `mailover show`; accept if they are two versions of one message",
    Kind.GRAPH_CANNOT_DELIVER: "`mailover quarantine list` tells why; accept if its fallback form is enough",
    Kind.LEGACY_CANNOT_DELIVER: "look whether Graph shows it; accept if nobody misses it",
    Kind.ONLY_IN_GRAPH: "accept: it comes into the lake with the switch",
    Kind.DELIVERED_BY_GRAPH_ONLY: "none: it comes into the lake with the switch",
    Kind.WEAK: "none: both forms are kept; `mailover show` has the first",
    Kind.OTHER_FOLDER: "compare again; accept if the protocols name the folder differently",
    Kind.COUNT: "compare again; accept if the folder's count is known to be wrong",
}
_ORDER = list(Grade)
_WEAK = "the same Message-ID, date, sender and subject, the only one on both sides, other content"


def may_switch(parity: Parity, accepted_items: Iterable[str]) -> bool:
    """Whether a parity allows Graph to take over: good at least, or every remaining item accepted."""
    if parity.grade == Grade.POOR:
        return False
    return not open_items(parity, accepted_items)


def open_items(parity: Parity, accepted_items: Iterable[str]) -> list[Difference]:
    """The differences that a person would have to accept, and has not."""
    done = set(accepted_items)
    return [
        each
        for each in parity.differences
        if GRADES[Kind(each.kind)] is Grade.INVESTIGATE and each.item not in done
    ]


def compare(
    connection: sa.Connection, mailbox_id: int, legacy: ProtocolName, phase: Phase, now: datetime
) -> Parity:
    """The parity of a mailbox, from what the rounds of both protocols have left in the index.

    POP3 sees the Inbox only: Graph's Inbox is what it is compared with, and the rest of the
    mailbox is counted as newly covered.
    """
    role = Role.INBOX if legacy is ProtocolName.POP3 else None
    view = _View(connection, mailbox_id, legacy, role)
    found = _Findings()
    _compare_messages(view, found)
    _compare_both(view, found)
    counts = {
        "messages": {
            "legacy": count_shown(connection, mailbox_id, legacy, None),
            "graph": count_shown(connection, mailbox_id, ProtocolName.GRAPH, role),
        },
        "matched": matched_by(connection, mailbox_id, view.compared(phase), view.feeding(phase), role),
        **found.counts,
        "folders": {
            "legacy": [_counted(each) for each in view.counts(legacy)],
            "graph": [_counted(each) for each in view.counts(ProtocolName.GRAPH)],
        },
    }
    grades = [GRADES[Kind(each.kind)] for each in found.differences]
    grade = max(grades, key=_ORDER.index, default=Grade.PERFECT)
    # Plain words from here on: they go into rows, files and events.
    return Parity(now, legacy.value, grade.value, counts, found.differences)


@dataclass(slots=True)
class _Findings:
    differences: list[Difference] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def add(self, kind: Kind, why: str, *, legacy: Shown | None = None, graph: Shown | None = None) -> None:
        shown = legacy or graph
        assert shown
        legacy_id = legacy.native_id if legacy else None
        graph_id = graph.native_id if graph else None
        name = "\0".join((kind, shown.folder, legacy_id or "", graph_id or ""))
        self.differences.append(
            Difference(
                item=hashlib.sha256(name.encode()).hexdigest()[:12],
                kind=kind.value,
                folder=shown.folder,
                legacy_id=legacy_id,
                graph_id=graph_id,
                message_id=shown.message_id,
                subject=shown.subject,
                message_key=shown.message_key or (graph.message_key if graph else None),
                why=why,
                action=_ACTIONS[kind],
            )
        )


@dataclass(frozen=True, slots=True)
class _View:
    connection: sa.Connection
    mailbox_id: int
    legacy: ProtocolName
    role: Role | None

    def compared(self, phase: Phase) -> ProtocolName:
        return ProtocolName.GRAPH if phase is Phase.SHADOW else self.legacy

    def feeding(self, phase: Phase) -> ProtocolName:
        return self.legacy if phase is Phase.SHADOW else ProtocolName.GRAPH

    def counts(self, protocol: ProtocolName) -> list[FolderCount]:
        return folder_counts(self.connection, self.mailbox_id, protocol)

    def alone(self, protocol: ProtocolName, other: ProtocolName) -> list[Shown]:
        role = self.role if protocol is ProtocolName.GRAPH else None
        return shown_alone(self.connection, self.mailbox_id, protocol, other, role)

    def unmatched(self, protocol: ProtocolName) -> list[Shown]:
        role = self.role if protocol is ProtocolName.GRAPH else None
        return shown_unmatched(self.connection, self.mailbox_id, protocol, role)

    def once(self, some: Iterable[Shown]) -> set[str]:
        """Headers of these of which each protocol shows one message and no other."""
        headers = list({each.header_key for each in some if each.header_key})
        on_each = (
            shown_once(self.connection, self.mailbox_id, protocol, headers)
            for protocol in (self.legacy, ProtocolName.GRAPH)
        )
        return set.intersection(*on_each)

    def in_vain(self, protocol: ProtocolName) -> list[Shown]:
        role = self.role if protocol is ProtocolName.GRAPH else None
        return shown_in_vain(self.connection, self.mailbox_id, protocol, role)


class _Pairing:
    """Ids of one side that may be the message of an id of the other; each is given out once."""

    def __init__(self, candidates: Iterable[Shown]) -> None:
        self._by_header: dict[str, list[Shown]] = defaultdict(list)
        self._by_time: dict[datetime, list[Shown]] = defaultdict(list)
        self._by_subject: dict[str | None, list[Shown]] = defaultdict(list)
        self.left: dict[tuple[str, str], Shown] = {}
        for each in candidates:
            self.left[each.folder, each.native_id] = each
            if each.header_key:
                self._by_header[each.header_key].append(each)
            elif each.subject is not None:
                self._by_subject[each.subject].append(each)
            if each.received_at:
                self._by_time[each.received_at.replace(microsecond=0)].append(each)

    def take(self, shown: Shown) -> Shown | None:
        """The one of the same headers, else of the same second of receipt where no headers are known.

        Mail without a Message-ID is known by its subject, in the last resort.
        """
        for each in self._options(shown):
            if self.left.pop((each.folder, each.native_id), None):
                return each
        return None

    def _options(self, shown: Shown) -> Iterator[Shown]:
        alike = self._by_header.get(shown.header_key or "", [])
        yield from alike
        if not alike and shown.received_at:
            at_once = self._by_time.get(shown.received_at.replace(microsecond=0), [])
            yield from (each for each in at_once if each.header_key is None or shown.header_key is None)
        if not alike and shown.header_key is None and shown.subject is not None:
            yield from self._by_subject.get(shown.subject, [])


def _compare_messages(view: _View, found: _Findings) -> None:
    """Pair what one protocol alone shows with what the other shows as something else."""
    graph, legacy = ProtocolName.GRAPH, view.legacy
    held = _Pairing(view.in_vain(graph))
    extra = _Pairing([*view.unmatched(graph), *view.alone(graph, legacy)])
    alone = view.alone(legacy, graph)
    once = view.once(alone)
    for missing in [*view.unmatched(legacy), *alone]:
        _explain_missing(missing, held, extra, once, found)
    for broken in view.in_vain(legacy):
        delivered = extra.take(broken)
        if delivered:
            why = f"{legacy} answers {broken.reason} for it, Graph delivers it"
            found.add(Kind.DELIVERED_BY_GRAPH_ONLY, why, legacy=broken, graph=delivered)
        else:
            found.add(Kind.LEGACY_CANNOT_DELIVER, f"{legacy} answers {broken.reason} for it", legacy=broken)
    for broken in held.left.values():
        found.add(Kind.GRAPH_CANNOT_DELIVER, f"Graph answers {broken.reason} for it", graph=broken)
    _explain_extra(list(extra.left.values()), view, found)
    if view.role:
        everywhere = shown_unmatched(view.connection, view.mailbox_id, graph, None)
        found.counts["newly_covered"] = len(everywhere) - len(view.unmatched(graph))


def _explain_missing(
    missing: Shown, held: _Pairing, extra: _Pairing, once: set[str], found: _Findings
) -> None:
    """``once``: headers of which each protocol shows one message and no other."""
    broken = held.take(missing)
    if broken:
        why = f"Graph lists it and answers {broken.reason}"
        found.add(Kind.GRAPH_CANNOT_DELIVER, why, legacy=missing, graph=broken)
        return
    other = extra.take(missing)
    if other and missing.header_key in once and _are_rows_in_place(missing, other):
        # Each came when it could not be told to be a form of the other.
        found.add(Kind.WEAK, f"{_WEAK}; each has a row", legacy=missing, graph=other)
        return
    if other:
        why = (
            "the same Message-ID, date, sender and subject on both sides, other content, and not alone of it"
            if missing.header_key
            else "no Message-ID on both sides, the same subject or second of receipt, other content"
        )
        found.add(Kind.AMBIGUOUS, why, legacy=missing, graph=other)
        return
    found.add(Kind.MISSING_IN_GRAPH, "Graph's listing does not have it", legacy=missing)


def _are_rows_in_place(missing: Shown, other: Shown) -> bool:
    """Whether the lake has both, and both lie in the same folder, where no drafts are."""
    in_place = missing.place == other.place != Role.DRAFTS
    return in_place and missing.message_key is not None and other.message_key is not None


def _explain_extra(extra: list[Shown], view: _View, found: _Findings) -> None:
    """What Graph alone shows: later mail is no difference, it is only too early to compare it."""
    began = max((each.started_at for each in view.counts(view.legacy)), default=None)
    later = [each for each in extra if began and each.received_at and each.received_at >= began]
    found.counts["arrived_later"] = len(later)
    for each in extra:
        if each not in later:
            found.add(Kind.ONLY_IN_GRAPH, f"{view.legacy} does not list it", graph=each)


def _compare_both(view: _View, found: _Findings) -> None:
    graph, legacy = ProtocolName.GRAPH, view.legacy
    for each in shown_weakly(view.connection, view.mailbox_id, graph):
        found.add(Kind.WEAK, _WEAK, graph=each)
    for each in shown_weakly(view.connection, view.mailbox_id, legacy):
        found.add(Kind.WEAK, _WEAK, legacy=each)
    for each in shown_elsewhere(view.connection, view.mailbox_id, legacy, graph):
        found.add(Kind.OTHER_FOLDER, "Graph shows it in other folders only", legacy=each)
    if legacy is not ProtocolName.POP3:
        for each in shown_elsewhere(view.connection, view.mailbox_id, graph, legacy):
            found.add(Kind.OTHER_FOLDER, f"{legacy} shows it in other folders only", graph=each)
    for protocol in (legacy, graph):
        for folder in view.counts(protocol):
            if folder.server != folder.lake:
                shown = Shown(folder.path, f"count:{protocol}", None, None, None, None)
                why = f"{protocol}: the server counts {folder.server}, its listing accounts for {folder.lake}"
                found.add(Kind.COUNT, why, **{"graph" if protocol is graph else "legacy": shown})


def _counted(folder: FolderCount) -> dict[str, Any]:
    return {"path": folder.path, "server": folder.server, "lake": folder.lake}
