"""Who moves by itself, and when: waves in order, clean parities in a row, a stop at the first poor one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipelines.config import MailboxConfig
from pipelines.cutover.parity import Grade, may_switch
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Switch, switch_all
from pipelines.index.holds import Holds, read_holds
from pipelines.index.journal import PhaseRow, phase_rows
from pipelines.index.parity import Parity, accepted, newest_parities
from pipelines.ingest.workspace import Workspace

ACTOR = "policy"
"""Who the journal says has moved a mailbox that moved by itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of phase that the policy wants now."""

    mailbox: str
    phase_from: Phase
    phase_to: Phase
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The step as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "phase_from": self.phase_from,
            "phase_to": self.phase_to,
            "reason": self.reason,
        }


@dataclass(slots=True)
class Wave:
    """Mailboxes that move together, and how far they have come."""

    name: str
    phases: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    """Mailboxes that a person has taken over."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a mailbox does not move yet, by address."""
    stopped: str | None = None
    """Why nothing of the wave moves."""

    @property
    def done(self) -> bool:
        """Whether every mailbox is on Graph, those aside that a person has taken over."""
        return self.phases.total() == self.phases[Phase.GRAPH]

    def to_json(self) -> dict[str, Any]:
        """The wave as ``--json`` prints it."""
        return {
            "wave": self.name,
            "phases": {phase: self.phases[phase] for phase in Phase},
            "skipped": self.skipped,
            "waiting": self.waiting,
            "stopped": self.stopped,
        }


@dataclass(slots=True)
class Plan:
    """What the policy would do now."""

    steps: list[Step] = field(default_factory=list)
    waves: list[Wave] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The plan as ``--json`` prints it."""
        return {
            "steps": [each.to_json() for each in self.steps],
            "waves": [each.to_json() for each in self.waves],
        }


def plan(workspace: Workspace, *, any_hour: bool = False) -> Plan:
    """What the policy wants done now; ``any_hour``: as if mailboxes might move at any time.

    Mailboxes go back first. Then waves move in the order of the configuration, the next one
    when the one before has arrived, ``at_once`` mailboxes in one go.
    """
    settings = workspace.config.cutover
    rows, holds = phase_rows(workspace.index), read_holds(workspace.index)
    made = Plan(_rollbacks(workspace, rows, holds))
    for name in settings.waves:
        mailboxes = [each for each in workspace.config.mailboxes if each.wave == name]
        wave, steps = _wave(workspace, name, mailboxes, rows, holds)
        made.waves.append(wave)
        earlier_arrived = all(each.done for each in made.waves[:-1])
        if not earlier_arrived:
            wave.stopped = wave.stopped or "the wave before it has not arrived"
        elif not any_hour and not settings.open_at(workspace.clock.now()):
            wave.stopped = wave.stopped or f"mailboxes move between {settings.hours} UTC"
        if not wave.stopped:
            made.steps += steps[: settings.at_once]
    return made


def carry_out(workspace: Workspace, steps: Iterable[Step]) -> list[Switch]:
    """Take the steps one by one. One that fails is said in its outcome and stops none after it."""
    outcomes: list[Switch] = []
    for step in steps:
        order = Order(step.phase_to, ACTOR, step.reason)
        outcomes += switch_all(workspace, [workspace.config.mailbox(step.mailbox)], order)
    return outcomes


def _rollbacks(workspace: Workspace, rows: dict[str, PhaseRow], holds: Holds) -> list[Step]:
    limit = workspace.config.cutover.rollback_after
    if limit is None:
        return []
    return [
        Step(
            each.address,
            Phase.GRAPH,
            Phase.LEGACY,
            f"Graph has failed {rows[each.address].failed_passes} passes in a row",
        )
        for each in workspace.config.mailboxes
        if each.legacy
        and each.address not in holds.mailboxes
        and rows[each.address].phase == Phase.GRAPH
        and rows[each.address].failed_passes >= limit
    ]


def _wave(
    workspace: Workspace,
    name: str,
    mailboxes: list[MailboxConfig],
    rows: dict[str, PhaseRow],
    holds: Holds,
) -> tuple[Wave, list[Step]]:
    wave, steps = Wave(name), list[Step]()
    if name in holds.waves:
        wave.stopped = f"paused by {holds.waves[name].actor}: {holds.waves[name].reason}"
    for mailbox in mailboxes:
        row = rows[mailbox.address]
        if mailbox.address in holds.mailboxes:
            wave.skipped.append(mailbox.address)
            continue
        wave.phases[row.phase] += 1
        if row.phase == Phase.GRAPH:
            continue
        if row.phase == Phase.LEGACY:
            steps.append(Step(mailbox.address, Phase.LEGACY, Phase.SHADOW, f"wave {name} has begun"))
            continue
        parities = newest_parities(workspace.index, row.mailbox_id, workspace.config.cutover.clean_parities)
        if parities and parities[0].grade == Grade.POOR:
            wave.stopped = wave.stopped or f"{mailbox.address} is poor"
        missing = _not_yet(workspace, row, parities)
        if missing:
            wave.waiting[mailbox.address] = missing
        else:
            reason = f"{len(parities)} clean parities in a row, the last {parities[0].grade}"
            steps.append(Step(mailbox.address, Phase.SHADOW, Phase.GRAPH, reason))
    return wave, steps


def _not_yet(workspace: Workspace, row: PhaseRow, parities: list[Parity]) -> str | None:
    """Why a mailbox in the shadow does not move yet; None where it may."""
    wanted = workspace.config.cutover.clean_parities
    since = [each for each in parities if row.since is None or each.at >= row.since]
    if since and not may_switch(since[0], accepted(workspace.index, row.mailbox_id)):
        return f"its last parity is {since[0].grade}"
    clean = [each for each in since[1:] if each.grade in (Grade.PERFECT, Grade.GOOD)]
    if len(since) < wanted or len(clean) < wanted - 1:
        return f"{min(len(clean) + 1, len(since))} of {wanted} clean parities in a row"
    return None
