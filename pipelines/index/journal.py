"""Phases and their journal: which protocol feeds a mailbox, and who changed it when and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.tables import journal, mailboxes


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a mailbox's phase."""

    at: datetime
    actor: str
    phase_from: str
    phase_to: str
    reason: str
    grade: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the decision rested on: the parity's counts, the items a person accepted."""

    def to_json(self) -> dict[str, Any]:
        """The transition as ``--json`` and the lake's copy have it."""
        return {
            "time": self.at.isoformat(),
            "actor": self.actor,
            "phase_from": self.phase_from,
            "phase_to": self.phase_to,
            "reason": self.reason,
            "grade": self.grade,
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Transition":
        """The transition that ``to_json`` wrote."""
        fields = {name: value for name, value in told.items() if name != "time"}
        return cls(at=datetime.fromisoformat(told["time"]), **fields)


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A mailbox's phase, since when it has it, and how many passes in a row have failed."""

    mailbox_id: int
    phase: str
    since: datetime | None
    failed_passes: int


_PHASE = (mailboxes.c.id, mailboxes.c.phase, mailboxes.c.phase_at, mailboxes.c.failed_passes)


def phase_row(index: Index, address: str) -> PhaseRow:
    """The phase of the mailbox at ``address``."""
    with index.read() as connection:
        row = connection.execute(sa.select(*_PHASE).where(mailboxes.c.address == address)).one()
    return PhaseRow(*row)


def phase_rows(index: Index) -> dict[str, PhaseRow]:
    """The phases of all mailboxes, by address."""
    with index.read() as connection:
        rows = connection.execute(sa.select(mailboxes.c.address, *_PHASE))
        return {address: PhaseRow(*row) for address, *row in rows}


def flip(index: Index, lease: Lease, transition: Transition) -> None:
    """Change the phase and write the journal, in one transaction under the lease."""
    with index.write() as connection:
        renew(connection, lease, transition.at)
        _set_phase(connection, lease, transition)
        connection.execute(journal.insert().values(mailbox_id=lease.mailbox_id, **_columns(transition)))
    lease.commits += 1


def restore(index: Index, lease: Lease, transitions: Sequence[Transition], now: datetime) -> None:
    """Put the journal of the lake's copy in place of a shorter one, and take over its last phase."""
    if len(history(index, lease.mailbox_id)) >= len(transitions):
        return
    with index.write() as connection:
        renew(connection, lease, now)
        connection.execute(sa.delete(journal).where(journal.c.mailbox_id == lease.mailbox_id))
        connection.execute(
            journal.insert(),
            [{"mailbox_id": lease.mailbox_id, **_columns(each)} for each in transitions],
        )
        _set_phase(connection, lease, transitions[-1])
    lease.commits += 1


_TRANSITION = (
    journal.c.at,
    journal.c.actor,
    journal.c.phase_from,
    journal.c.phase_to,
    journal.c.reason,
    journal.c.grade,
    journal.c.evidence,
)
_HISTORY = (
    sa.select(*_TRANSITION).where(journal.c.mailbox_id == sa.bindparam("mailbox")).order_by(journal.c.id)
)


def history(index: Index, mailbox_id: int) -> list[Transition]:
    """The mailbox's transitions, oldest first."""
    with index.read() as connection:
        return transitions(connection, mailbox_id)


def transitions(connection: sa.Connection, mailbox_id: int) -> list[Transition]:
    """The same, within a transaction."""
    return [Transition(*row) for row in connection.execute(_HISTORY, {"mailbox": mailbox_id})]


def all_history(index: Index) -> list[tuple[str, Transition]]:
    """Every mailbox's transitions with its address, oldest first."""
    query = (
        sa.select(mailboxes.c.address, *_TRANSITION)
        .join(mailboxes, mailboxes.c.id == journal.c.mailbox_id)
        .order_by(journal.c.at, journal.c.id)
    )
    with index.read() as connection:
        return [(address, Transition(*row)) for address, *row in connection.execute(query)]


def _set_phase(connection: sa.Connection, lease: Lease, transition: Transition) -> None:
    connection.execute(
        sa.update(mailboxes)
        .where(mailboxes.c.id == lease.mailbox_id)
        .values(phase=transition.phase_to, phase_at=transition.at, failed_passes=0)
    )


def _columns(transition: Transition) -> dict[str, Any]:
    return {
        "at": transition.at,
        "actor": transition.actor,
        "phase_from": transition.phase_from,
        "phase_to": transition.phase_to,
        "reason": transition.reason,
        "grade": transition.grade,
        "evidence": transition.evidence,
    }
