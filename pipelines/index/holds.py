"""What a person has taken out of the policy's hands: waves that are paused, mailboxes that are skipped."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.inserting import insert
from pipelines.index.tables import holds, mailboxes


@dataclass(frozen=True, slots=True)
class Hold:
    """A wave or a mailbox that the policy leaves alone."""

    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Holds:
    """Every hold in force."""

    waves: dict[str, Hold]
    mailboxes: dict[str, Hold]
    """By address."""


def read_holds(index: Index) -> Holds:
    """What the policy leaves alone now."""
    with index.read() as connection:
        rows = connection.execute(
            sa.select(holds, mailboxes.c.address).outerjoin(mailboxes, mailboxes.c.id == holds.c.mailbox_id)
        ).all()
    return Holds(
        {row.wave: Hold(row.at, row.actor, row.reason) for row in rows if row.wave is not None},
        {row.address: Hold(row.at, row.actor, row.reason) for row in rows if row.address is not None},
    )


def hold_wave(index: Index, wave: str, hold: Hold) -> bool:
    """Pause a wave; False where it is paused already."""
    with index.write() as connection:
        return _enter(connection, hold, wave=wave)


def hold_mailbox(index: Index, address: str, hold: Hold) -> bool:
    """Have the policy skip a mailbox; False where it does already."""
    with index.write() as connection:
        mailbox_id = connection.execute(_mailbox(address)).scalar_one()
        return _enter(connection, hold, mailbox_id=mailbox_id)


def release_wave(index: Index, wave: str) -> bool:
    """Let a wave go on; False where it was not paused."""
    with index.write() as connection:
        return connection.execute(sa.delete(holds).where(holds.c.wave == wave)).rowcount == 1


def release_mailbox(index: Index, address: str) -> bool:
    """Give a mailbox back to the policy; False where it had it."""
    with index.write() as connection:
        found = sa.delete(holds).where(holds.c.mailbox_id == _mailbox(address).scalar_subquery())
        return connection.execute(found).rowcount == 1


def _mailbox(address: str) -> sa.Select[int]:
    return sa.select(mailboxes.c.id).where(mailboxes.c.address == address)


def _enter(connection: sa.Connection, hold: Hold, **held: str | int) -> bool:
    """Enter a hold; False where what it holds is held already."""
    row = insert(connection, holds).values(at=hold.at, actor=hold.actor, reason=hold.reason, **held)
    entered = row.on_conflict_do_nothing(index_elements=list(held)).returning(holds.c.id)
    return connection.scalar(entered) is not None
