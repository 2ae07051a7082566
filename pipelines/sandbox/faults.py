"""What the tenant is told to do wrong."""

import random
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Door(StrEnum):
    """Where clients come in."""

    ENTRA = "entra"
    IMAP = "imap"
    POP3 = "pop3"
    GRAPH = "graph"


class FaultKind(StrEnum):
    """The ways to misbehave; each door documents what it makes of them."""

    THROTTLE = "throttle"
    """Ask to wait ``seconds``."""
    EXPIRE = "expire"
    """Treat the session's token as expired, now."""
    DROP = "drop"
    """Cut the connection, after ``bytes`` of the answer."""
    EMPTY = "empty"
    """Answer without the message."""
    PLACEHOLDER = "placeholder"
    """Send Exchange's own text instead of the message."""
    TRUNCATE = "truncate"
    """Send the first ``bytes`` of the message as if they were all."""
    DELAY = "delay"
    """Answer after ``seconds``."""
    REFUSE = "refuse"
    """Refuse to sign in, or to open the mailbox."""
    UNAVAILABLE = "unavailable"
    """Say that the server is not available."""
    FORGET = "forget"
    """Not know a link any more that was given out for later."""
    ERROR = "error"
    """Answer with the HTTP ``status`` and error ``code``; without a code, with an empty body."""


class RetryAfter(StrEnum):
    """How an HTTP door tells how long to wait."""

    SECONDS = "seconds"
    """As ``seconds`` says, fraction included."""
    DATE = "date"
    NONE = "none"


@dataclass(slots=True)
class Fault:
    """One instruction: what, where, how often."""

    kind: FaultKind
    door: Door
    mailbox: str | None = None
    """This mailbox only."""
    command: str | None = None
    """This command only: ``FETCH``, ``LOGIN``, ``RETR``, ``token`` …; upper and lower case are one."""
    uid: int | None = None
    """This message only."""
    times: int | None = None
    """How often; None for as long as it stands."""
    probability: float = 1.0
    seconds: float = 1.0
    bytes: int = 0
    status: int = 500
    code: str = ""
    retry_after: RetryAfter | None = None
    """Told with ``throttle`` unless it is ``none``, with ``error`` only if it is given."""


class Faults:
    """The instructions in force; safe to share between threads."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults: list[Fault] = []
        self._committed = 0
        self._asked: dict[Door, Counter[str]] = {door: Counter() for door in Door}

    def asked(self) -> dict[str, dict[str, int]]:
        """How often each door was asked for what, by command; ``FETCH`` once for each message sent."""
        with self._lock:
            return {door: dict(sorted(commands.items())) for door, commands in self._asked.items()}

    def add(self, fault: Fault) -> None:
        """From now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> int:
        """Behave again; returns how many faults were committed since this was asked last."""
        with self._lock:
            self._faults.clear()
            committed, self._committed = self._committed, 0
        return committed

    def match(
        self, door: Door, command: str, mailbox: str | None = None, uid: int | None = None
    ) -> Fault | None:
        """The fault to commit now, counted as committed; None to behave.

        Doors ask before each command that they answer, so this is also where requests are counted.
        """
        with self._lock:
            self._asked[door][command.upper()] += 1
            for fault in self._faults:
                if _fits(fault, door, command, mailbox, uid) and self._random.random() < fault.probability:
                    if fault.times is not None:
                        fault.times -= 1
                    self._committed += 1
                    return fault
        return None


def _fits(fault: Fault, door: Door, command: str, mailbox: str | None, uid: int | None) -> bool:
    return (
        fault.door == door
        and (fault.command is None or fault.command.lower() == command.lower())
        and (fault.mailbox is None or fault.mailbox.lower() == (mailbox or "").lower())
        and (fault.uid is None or fault.uid == uid)
        and fault.times != 0
    )
