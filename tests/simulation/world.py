"""A history as it happens: the real ingest and cutover code, a model tenant, a computer that dies."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from pipelines.config import Config, CutoverSettings, IngestSettings, MailboxConfig
from pipelines.cutover.parity import open_items
from pipelines.cutover.passes import compare_now, read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.policy import carry_out, plan
from pipelines.cutover.switch import Order, Result, switch_all
from pipelines.errors import (
    ConnectionLostError,
    LeaseHeldError,
    LeaseLostError,
    MailboxRefusedError,
    ThrottledError,
)
from pipelines.index.journal import history, phase_row
from pipelines.index.lease import hold
from pipelines.index.mailboxes import add_mailboxes
from pipelines.index.parity import Acceptance, accept, accepted, newest_parities
from pipelines.index.tables import mailboxes
from pipelines.ingest.passes import contained, feeding_protocol
from pipelines.ingest.rebuild import rebuild
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.rounds import Round
from pipelines.ingest.verify import verify
from pipelines.ingest.workspace import Workspace
from pipelines.mime.process import MimeProcesses
from pipelines.sandbox import store as tenant
from pipelines.sources.base import Folder, ProtocolName, Source
from tests.ingest.model import KIM, VirtualClock, configure
from tests.simulation.ahead import ReadingAhead
from tests.simulation.history import Act, History, Setting, Step
from tests.simulation.judging import Cursors, Run, begin, blind_links, judge_error, judge_report, judge_switch
from tests.simulation.machine import (
    Crash,
    MemoryIndex,
    Moment,
    OneByOne,
    QuickLake,
    forget_leases,
    without_threads,
)
from tests.simulation.oracle import check, demand
from tests.simulation.people import STANDARD, People
from tests.simulation.witness import Witness, WitnessedSource
from tests.tenant_model import TenantModel

_BETWEEN_MOMENTS = 0.37
"""Seconds that pass with each moment."""
PHASES = (Phase.LEGACY, Phase.SHADOW, Phase.GRAPH, Phase.GRAPH)


class SimulatedWorkspace(Workspace):
    """The real workspace over the model tenant, the quick index and the quick lake."""

    def __init__(self, world: "World") -> None:
        self.config, self.clock = world.config, world.clock
        self.lake, self.index = world.lake, world.index
        self.mime = ReadingAhead() if world.reads_ahead else MimeProcesses()
        self.writers = OneByOne()
        self._world = world
        add_mailboxes(self.index, [(KIM, "legacy")])

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        world = self._world
        feeds = protocol is feeding_protocol(self, mailbox)
        return WitnessedSource(world.model, protocol, world.tick, world.witness, feeds=feeds)

    def close(self) -> None:
        """Index and lake belong to the world."""


class World:
    """One mailbox, its tenant, and the computer that reads it."""

    def __init__(self, folder: Path, setting: Setting, seed: int = 0) -> None:
        self.setting = setting
        self.trace: list[str] = []
        self.clock = VirtualClock()
        self.witness = Witness()
        self.legacy = ProtocolName(setting.legacy)
        self.config = _configured(folder, setting)
        self.mailbox = self.config.mailbox(KIM)
        self._chance = Random(seed)
        self.reads_ahead = bool(seed % 2)
        self.model = self._tenant(folder / "tenant")
        self.people = People(self.model, self.legacy)
        self._dead = self._nested = False
        self._ticks = 0
        self._cursors = Cursors(self)
        self._armed: deque[Act] = deque()
        self.index = MemoryIndex(self.tick, self._cursors.committed, self._new_name())
        self.lake = QuickLake(folder / "lake", self.tick)
        self.workspace = SimulatedWorkspace(self)
        self.journal: list[tuple[str, str]] = []
        """Phases from and to, of every switch that was done."""
        self._uncopied: list[tuple[str, str]] | None = None
        """The journal that the lake may still have, after a crash in the middle of a switch."""
        self.unfit = False
        """Whether the index was lost or put back, and the lake not verified since."""
        self._copy: tuple[sqlite3.Connection, list[tuple[str, str]]] | None = None
        self._runs = [Run()]
        self.files: dict[str, list[dict[str, Any]]] = {}
        """Rows of the lake's files by path: a file never changes."""

    def _tenant(self, folder: Path) -> TenantModel:
        store = tenant.Store(folder, self.clock.now, self._chance)
        store.create_mailbox(KIM)
        for path, role in zip(STANDARD, ("inbox", "drafts", "other"), strict=True):
            store.create_folder(KIM, path, role)
        self.clock.sleep(3600)
        return TenantModel(
            store,
            late={ProtocolName.GRAPH: timedelta(seconds=self.setting.graph_late)},
            server_ahead=timedelta(seconds=self.setting.server_ahead),
            size_step=self.setting.size_step,
            page_size=self.setting.page_size,
        )

    def _new_name(self) -> str:
        """As random as an index's own, and the same in every replay."""
        return self._chance.randbytes(16).hex()

    def close(self) -> None:
        """Give back the tenant's file."""
        self.model.store.close()

    # Moments

    def tick(self, moment: Moment) -> None:
        """Time passes, and what the history has for this moment happens."""
        if self._dead:
            raise Crash
        self.clock.sleep(_BETWEEN_MOMENTS)
        if self._nested:
            return
        self._ticks += 1
        while self._armed and self._armed[0].at <= self._ticks and self._suits(self._armed[0], moment):
            self._happen(self._armed.popleft())

    def _suits(self, act: Act, moment: Moment) -> bool:
        if act.name in ("lost", "throttled", "refused"):
            return moment is Moment.COMMAND
        if act.name == "steal":
            # The copies in control/ are written in one breath: no run falls silent for minutes in it.
            return moment not in (Moment.INSIDE, Moment.COPY)
        return act.name == "crash" or moment is not Moment.INSIDE

    def _happen(self, act: Act) -> None:
        if self.people.can(act):
            self.say(f"  meanwhile at {self._ticks}: {self.people.do(act)}")
            return
        self.say(f"  at {self._ticks}: {act.name}")
        match act.name:
            case "crash":
                self._dead = True
                raise Crash
            case "lost":
                raise ConnectionLostError("the connection is lost")
            case "throttled":
                raise ThrottledError("too many requests", retry_after=300)
            case "refused":
                raise MailboxRefusedError("the token is no longer good")
            case "steal":
                self._steal(act)

    def _steal(self, act: Act) -> None:
        """The run falls silent; another takes the mailbox over, does its work, and then this one wakes."""
        self._runs[-1].stolen = True
        self._hold("worker-7", silent_for=timedelta(minutes=3))
        self._nested = True
        try:
            self._start(Act("switch" if act.numbers[0] % 4 == 3 else "pass", act.numbers))
        finally:
            self._nested = False

    def _hold(self, host: str, silent_for: timedelta) -> None:
        holder = {"host": host, "machine": host, "pid": 4711, "started": "1"}
        with sa_write(self.index) as connection:
            connection.execute(
                sa.update(mailboxes).values(lease_holder=holder, lease_at=self.clock.now() - silent_for)
            )

    # Steps

    def say(self, line: str) -> None:
        """Note what happens, for a person to read."""
        self.trace.append(line)

    def step(self, step: Step) -> None:
        """Let one step of a history happen."""
        self.clock.sleep(60)
        if self.people.can(step.act):
            self.say(self.people.do(step.act))
            return
        self._ticks, self._armed = 0, deque(step.during)
        self.say(f"{step.act} at {self.clock.now():%d %H:%M:%S}")
        with _watched_rounds(self):
            run = self._start(step.act)
        for act in self._armed:
            if self.people.can(act):
                self.say(f"  after it: {self.people.do(act)}")
        self._armed.clear()
        if run.stolen:
            self._order_journal()
        if run.crashed:
            self._start_again(step.act.numbers[0] if step.act.numbers else 0)

    def _start(self, act: Act) -> Run:
        run = begin(self)
        self._runs.append(run)
        try:
            self._run(act, run)
        except Crash:
            run.crashed = True
        except LeaseHeldError:
            self.say("  → held by another run")
        except LeaseLostError:
            self.say("  → lost the mailbox to another run")
            demand(run.stolen, "a run lost its lease to nobody")
        finally:
            self._runs.pop()
        demand(not self._cursors.faults, "\n".join(self._cursors.faults))
        if not run.crashed:
            self._believe(run)
        return run

    def _believe(self, run: Run) -> None:
        report = run.report
        if not run.stolen:
            self.witness.owed.update(run.owed)
        if report:
            self.say(f"  → {_summary(report)}")
            judge_report(self, report, run)
            if not report.error:
                self._uncopied = None
        for switch in run.switches:
            self.say(f"  → {switch.result}: {switch.why}")
            if switch.result is Result.DONE:
                self.journal.append((switch.phase_from, switch.phase_to))
                judge_switch(self, switch, run)
            if switch.error:
                judge_error(self, switch.error, run)

    def lease_holder(self) -> dict[str, Any] | None:
        """Who has the mailbox, as the index tells it."""
        with self.index.read() as connection:
            found: dict[str, Any] | None = connection.scalar(sa.select(mailboxes.c.lease_holder))
        return found

    def _order_journal(self) -> None:
        """Of two runs in one step, the journal tells which was the first to switch."""
        found = self.index_journal()
        if sorted(found) == sorted(self.journal):
            self.journal = found

    def _start_again(self, number: int) -> None:
        """The machine is started again, or another one finds its lease."""
        self._dead = False
        forget_leases()
        self.workspace = SimulatedWorkspace(self)
        holder = self.lease_holder()
        if holder:
            holder = {**holder, "started": "never"} | ({"machine": "another"} if number % 3 == 0 else {})
            with sa_write(self.index) as connection:
                connection.execute(sa.update(mailboxes).values(lease_holder=holder))
        found = self.index_journal()
        if len(found) == len(self.journal) + 1:
            self.say("  the switch was done before the crash")
            self._uncopied, self.journal = self.journal, found
        self.say("  started again")

    def index_journal(self) -> list[tuple[str, str]]:
        """Phases from and to, as the index has them."""
        row = phase_row(self.index, KIM)
        return [(each.phase_from, each.phase_to) for each in history(self.index, row.mailbox_id)]

    # Runs

    def _run(self, act: Act, run: Run) -> None:  # noqa: C901 - a table of acts
        match act.name:
            case "pass":
                run.report = read_mailbox(self.workspace, self.mailbox)
            case "compare":
                run.report = compare_now(self.workspace, self.mailbox)
            case "switch":
                order = Order(PHASES[act.numbers[0] % 4], "a person", "why not", act.numbers[1] == 0)
                run.switches.extend(switch_all(self.workspace, [self.mailbox], order))
            case "policy":
                run.switches.extend(carry_out(self.workspace, plan(self.workspace).steps))
            case "accept":
                self._accept()
            case "verify":
                self._verify()
            case "renormalise" | "rebuild":
                self._redo(act.name, run)
            case "held":
                self._hold("worker-9", silent_for=timedelta())
                run.held = True
                run.report = read_mailbox(self.workspace, self.mailbox)
                kept = run.report.outcome is Outcome.BUSY or run.stolen
                demand(kept, "a mailbox that another run writes was read")
                self.clock.sleep(180)
            case "lose_index":
                self.index.lose(self._new_name())
                self.unfit = True
                self.workspace = SimulatedWorkspace(self)
            case "keep_copy":
                self._copy = self.index.copy(), list(self.journal)
            case "restore_copy":
                self._restore()
            case "wait":
                self.clock.sleep(3600 * 2 ** act.numbers[0])
            case "quiet":
                self.quiet()
            case _:
                raise ValueError(act.name)

    def _accept(self) -> None:
        row = phase_row(self.index, KIM)
        for parity in newest_parities(self.index, row.mailbox_id, 1):
            items = open_items(parity, accepted(self.index, row.mailbox_id))
            now = self.clock.now()
            words = [Acceptance(each.item, now, "a person", "looked at") for each in items]
            accept(self.index, row.mailbox_id, words)
            self.say(f"  → {len(words)} accepted")

    def _verify(self) -> None:
        # What is built from the lake is not fit before it is whole.
        was_unfit, self.unfit = self.unfit, True
        found = verify(self.workspace, KIM)
        self.say(f"  → {found.to_json()}")
        demand(not found.damage, f"verify finds damage: {found.damage}")
        demand(was_unfit or not found.repaired, f"verify repairs what was right: {found.repaired}")
        self.unfit = was_unfit and bool(found.skipped)
        if self._uncopied is not None and self.index_journal() == self._uncopied:
            self.journal = self._uncopied

    def _redo(self, name: str, run: Run) -> None:
        run.report = MailboxReport(KIM, "lake")
        with contained(self.workspace, run.report), hold(self.index, KIM, self.clock) as lease:
            if name == "renormalise":
                renormalise(self.workspace, lease, everything=True)
            else:
                self.unfit = True
                rebuild(self.workspace, lease)
                self.unfit = False

    def _restore(self) -> None:
        if self._copy:
            copied, _ = self._copy
            self.index.restore(copied)
            self.unfit = True
            self.workspace = SimulatedWorkspace(self)

    def quiet(self) -> None:
        """Nothing goes wrong for a while: one pass has to put everything right."""
        self._armed.clear()
        self.people.be_still()
        self.clock.sleep(3600)
        if self.unfit:
            self._verify()
        run = self._start(Act("pass"))
        assert run.report
        demand(run.report.error is None, f"a quiet pass fails: {run.report.error}")
        check(self, run.report)

    def end(self) -> None:
        """Everything heals, and everything is looked at once more."""
        with _watched_rounds(self):
            self.say("the end")
            self.quiet()
            self.model.poison.clear()
            self.people.show_all()
            self.clock.sleep(2 * 86400)
            self.say("everything has healed")
            self.quiet()
            if self.setting.lost_at_the_end:
                self.say("the index is lost")
                self.index.lose(self._new_name())
                self.unfit = True
                self.workspace = SimulatedWorkspace(self)
                self.quiet()

    def same_letter(self, one: str, other: str) -> bool:
        """Whether two contents have all headers in common."""
        return self.people.letters[one] == self.people.letters[other]

    def closed(self, source: Source, folder: Folder) -> None:
        """A round of the feeding protocol was closed."""
        if isinstance(source, WitnessedSource):
            where = f"{source.protocol} showed it in {folder.path} at {self.clock.now():%d %H:%M:%S}"
            shown = source.still_there(folder)
            self._runs[-1].owed += [(content, where) for content in shown.values()]
            if shown and source.protocol is self.legacy:
                self.witness.excused |= blind_links(self, folder, shown)


@contextmanager
def sa_write(index: MemoryIndex) -> Iterator[sa.Connection]:
    """A write that is no moment of the history."""
    with index._engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def _watched_rounds(world: World) -> Iterator[None]:
    real: Callable[[Round], None] = Round.close

    def close(one: Round) -> None:
        real(one)
        if not one._compared:
            world.closed(one._source, one._folder)

    patched: Any = Round
    patched.close = close
    try:
        yield
    finally:
        patched.close = real


def _summary(report: MailboxReport) -> str:
    parity = f", parity {report.parity.grade}" if report.parity else ""
    told = [
        f"{each.path}: {each.listed} listed, {each.stored} stored, {each.known} known, "
        f"{each.quarantined} held, {each.gone} gone, {each.unmatched} unmatched {'; '.join(each.notes)}"
        for each in (*report.rounds, *report.compared)
        if each.listed or each.notes
    ]
    failed = {**report.folder_errors, **report.compare_errors}
    errors = [f"{path}: {error.message}" for path, error in failed.items()]
    errors += [str(report.error)] if report.error else []
    return f"{report.protocol} {report.outcome}{parity} [{' | '.join([*told, *errors])}]"


def _configured(folder: Path, setting: Setting) -> Config:
    config = configure(folder, KIM)
    (kim,) = config.mailboxes
    return Config(
        tenant=config.tenant,
        storage=config.storage,
        mailboxes=(kim.model_copy(update={"legacy": setting.legacy, "wave": "pilot"}),),
        ingest=IngestSettings(batch_bytes=setting.batch_bytes),
        cutover=CutoverSettings(
            compare=setting.compare,
            waves=("pilot",),
            clean_parities=setting.clean_parities,
            trailing_days=setting.trailing_days,
            rollback_after=setting.rollback_after,
        ),
    )


def live(history: History, folder: Path, seed: int = 0) -> World:
    """Let a history happen, with its end. Raises ``InvariantBrokenError`` with the story as a note."""
    world = World(folder, history.setting, seed)
    try:
        with without_threads():
            for step in history.steps:
                world.step(step)
            world.end()
    except BaseException as error:
        error.add_note("\n".join(world.trace))
        raise
    finally:
        world.close()
    return world
