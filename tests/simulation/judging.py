"""What a run may do, held against what was done to it; and what cursors may pass."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pipelines.cutover.parity import Grade, Kind
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Switch
from pipelines.errors import (
    ConnectionLostError,
    LakeMismatchError,
    LeaseHeldError,
    LeaseLostError,
    MailboxRefusedError,
    MailoverError,
    ThrottledError,
)
from pipelines.index.journal import phase_row
from pipelines.index.parity import accepted
from pipelines.index.tables import folders, mailboxes, messages, occurrences, quarantine, unmatched
from pipelines.ingest.report import MailboxReport
from pipelines.sources.base import Folder, ProtocolName
from tests.ingest.model import KIM
from tests.simulation.oracle import CONTROL, InvariantBrokenError, Seen, demand
from tests.simulation.witness import listing

if TYPE_CHECKING:
    from tests.simulation.world import World


_HARMLESS = (Kind.WEAK, Kind.DELIVERED_BY_GRAPH_ONLY)
"""Differences that lose nothing: nobody has to accept them."""


@dataclass
class Run:
    """What came of one step's run: its report or its switches, if it lived to tell."""

    report: MailboxReport | None = None
    switches: list[Switch] = field(default_factory=list)
    crashed: bool = False
    stolen: bool = False
    """Whether another run took the mailbox over meanwhile."""
    held: bool = False
    """Whether the lease was taken when it began."""
    outdated: bool = False
    """Whether the index was older than the lake when it began."""
    legacy_showed: set[str] = field(default_factory=set)
    """Contents that the legacy protocol showed and could deliver when it began."""
    graph_showed: set[str] = field(default_factory=set)
    """Contents that Graph showed at any time since it began, where the legacy protocol could show them."""
    owed: list[tuple[str, str]] = field(default_factory=list)
    """Contents, and where they were shown, of the rounds it closed as the feeding protocol."""


def begin(world: "World") -> Run:
    """A run that begins now."""
    return Run(
        held=world.lease_holder() is not None,
        outdated=_is_outdated(world),
        legacy_showed=_deliverable(world, world.legacy),
        graph_showed=_shown(world, ProtocolName.GRAPH),
    )


def _is_outdated(world: "World") -> bool:
    """Whether an older copy took the index's place: the lake tells how far it had come."""
    control = world.lake.read_control(CONTROL)
    if not world.unfit or control is None or control["index_id"] != world.index.index_id:
        return False
    with world.index.read() as connection:
        epoch: int = connection.scalar(sa.select(mailboxes.c.lease_epoch)) or 0
    return bool(control["epoch"] > epoch)


def judge_report(world: "World", report: MailboxReport, run: Run) -> None:
    """A run on an index that is older than the lake goes no further; others fail for a reason."""
    went_on = run.outdated and report.protocol != "lake" and report.error is None
    demand(not went_on, "a run goes on with an index that is older than the lake")
    if report.error:
        judge_error(world, report.error, run)
    for error in (*report.folder_errors.values(), *report.compare_errors.values()):
        judge_error(world, error, run)


def judge_error(world: "World", error: MailoverError, run: Run) -> None:
    """Only what was done to a run may be what it fails of."""
    expected = isinstance(error, ConnectionLostError | ThrottledError | MailboxRefusedError)
    expected |= isinstance(error, LeaseLostError) and run.stolen
    expected |= isinstance(error, LakeMismatchError) and world.unfit
    expected |= isinstance(error, LeaseHeldError) and run.held
    demand(expected, f"a run fails without a reason: {type(error).__name__}: {error}")


def judge_switch(world: "World", switch: Switch, run: Run) -> None:
    """A mailbox that went to Graph left nothing behind that the legacy protocol showed all the time."""
    demand(not run.outdated, "a switch is done on an index that is older than the lake")
    if switch.phase_to is not Phase.GRAPH or run.stolen:
        return
    stayed = run.legacy_showed & _deliverable(world, world.legacy)
    seen = Seen(world)
    left = stayed - set(seen.primary.values()) - _held(world, seen)
    for content in left - world.witness.excused:
        raise InvariantBrokenError(
            f"lost: {world.people.letters[content]} was left behind by the switch to Graph"
        )
    parity = switch.parity
    assert parity
    words = accepted(world.index, phase_row(world.index, KIM).mailbox_id)
    open_ = {each.item for each in parity.differences if each.kind not in _HARMLESS} - words.keys()
    demand(not open_, f"a switch was done with differences that nobody accepted: {open_}")
    lacking = stayed - run.graph_showed - _shown(world, ProtocolName.GRAPH)
    good = parity.grade in (Grade.PERFECT, Grade.GOOD)
    demand(not (lacking and good), f"a switch was done, {parity.grade}, though Graph lacks {lacking}")


def _held(world: "World", seen: Seen) -> set[str]:
    """Contents that the legacy protocol shows and that wait in quarantine: parity lists them."""
    shown = listing(world.model, world.legacy)
    return {each.sha256 for place, each in shown.items() if (world.legacy, *place) in seen.held}


def _deliverable(world: "World", protocol: ProtocolName) -> set[str]:
    listed = listing(world.model, protocol).values()
    return {each.sha256 for each in listed if (protocol, each.immutable_id) not in world.model.poison}


def _shown(world: "World", protocol: ProtocolName) -> set[str]:
    return {each.sha256 for each in listing(world.model, protocol).values()}


def blind_links(world: "World", folder: Folder, shown: dict[str, str]) -> set[str]:
    """Contents that a legacy listing does not tell from the one their ids were linked to.

    Linked by the listing, it shows the same headers, the same second of receipt and the same
    size, or has never shown the message before, which leaves no size to compare. Matched weakly,
    it may be an edit as well as another form (docs/simulation.md).
    """
    with world.index.read() as connection:
        linked = connection.execute(
            sa.select(occurrences.c.native_id, messages.c.raw_sha256)
            .join(folders, folders.c.id == occurrences.c.folder_id)
            .join(messages, messages.c.id == occurrences.c.row_id)
            .where(
                folders.c.native == folder.native,
                folders.c.protocol == world.legacy,
                occurrences.c.evidence.in_(("listing", "weak")),
                occurrences.c.native_id.in_(list(shown)),
            )
        ).all()
    contents = {row.native_id: world.witness.delivered[row.raw_sha256][1] for row in linked}
    return {
        shown[native_id]
        for native_id, content in contents.items()
        if content != shown[native_id] and world.same_letter(content, shown[native_id])
    }


_CURSORS = sa.select(
    folders.c.id, folders.c.protocol, folders.c.native, folders.c.path, folders.c.cursor
).where(folders.c.cursor.is_not(None))
_OUTCOMES = sa.union(
    *(
        sa.select(table.c.native_id).where(table.c.folder_id == sa.bindparam("folder"))
        for table in (occurrences, unmatched, quarantine)
    )
)


class Cursors:
    """Looks at the cursors after every commit."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._last: dict[int, str] = {}
        """Cursors by folder row, as the last commit left them."""
        self.faults: list[str] = []

    def committed(self) -> None:
        """The cursor moves only in the transaction that records what became of the ids up to it."""
        with self._world.index.read() as connection:
            moved = [row for row in connection.execute(_CURSORS) if self._last.get(row.id) != row.cursor]
            for row in moved:
                self._last[row.id] = row.cursor
                listed = self._world.witness.covered.get((row.protocol, row.native, row.cursor), set())
                if listed:
                    done = set(connection.scalars(_OUTCOMES, {"folder": row.id}))
                    shown = listing(self._world.model, ProtocolName(row.protocol))
                    there = {id_ for native, id_ in shown if native == row.native}
                    lost = (listed & there) - done
                    if lost:
                        # Said when the run has ended: what is raised here would be contained as its failure.
                        fault = f"lost: the cursor of {row.path} passes {lost}, which have no outcome"
                        self.faults.append(fault)
