"""What a check found, and what is to be done about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pipelines.errors import MailoverError
from pipelines.sources.base import ProtocolName

_ATTENTION, _NO_ACCESS = 1, 3
"""Exit codes of a warning and of a failure that no error of Mailover stands behind."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"
    """Not checked: something before it failed, or it cannot be seen from here."""


class Area(StrEnum):
    """The parts of a sign-in, in the order in which each builds on the one before."""

    CONFIGURATION = "configuration"
    CONNECTIONS = "connections"
    SIGN_IN = "sign-in"
    MAILBOXES = "mailboxes"
    COVERAGE = "coverage"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing."""

    area: Area
    check: str
    """A short stable word: ``tls``, ``clock``, ``token``, ``imap`` …"""
    subject: str
    """What was checked: a mailbox, an endpoint, a file."""
    state: State
    what: str
    remedy: str | None = None
    commands: tuple[str, ...] = ()
    """PowerShell lines that do what the remedy says, with the tenant's own ids."""
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """The finding for a script."""
        return {
            "area": self.area,
            "check": self.check,
            "subject": self.subject,
            "state": self.state,
            "what": self.what,
            "remedy": self.remedy,
            "commands": list(self.commands),
        }


class Check(NamedTuple):
    """A check by its name; makes its findings."""

    area: Area
    name: str

    def ok(self, subject: str, what: str) -> Finding:
        """All well."""
        return Finding(self.area, self.name, subject, State.OK, what)

    def skipped(
        self, subject: str, what: str, remedy: str | None = None, commands: Sequence[str] = ()
    ) -> Finding:
        """Not checked, and why."""
        return Finding(self.area, self.name, subject, State.SKIPPED, what, remedy, tuple(commands))

    def warning(self, subject: str, what: str, remedy: str, commands: Sequence[str] = ()) -> Finding:
        """It works, or will until something changes, but a person should look."""
        return Finding(
            self.area, self.name, subject, State.WARNING, what, remedy, tuple(commands), _ATTENTION
        )

    def failure(
        self,
        subject: str,
        what: str,
        remedy: str,
        commands: Sequence[str] = (),
        *,
        exit_code: int = _NO_ACCESS,
    ) -> Finding:
        """It does not work."""
        return Finding(self.area, self.name, subject, State.FAILURE, what, remedy, tuple(commands), exit_code)

    def failed(self, subject: str, error: MailoverError, commands: Sequence[str] = ()) -> Finding:
        """It does not work, in the words of the error that tells why."""
        what = error.message.removeprefix(f"{subject}: ")
        return Finding(
            self.area,
            self.name,
            subject,
            State.FAILURE,
            what,
            error.remedy,
            tuple(commands),
            error.exit_code or _ATTENTION,
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a mailbox is read over a protocol, and what is not."""

    mailbox: str
    protocol: ProtocolName
    read: tuple[str, ...]
    """Paths of folders."""
    skipped: tuple[tuple[str, str], ...]
    """Paths of folders that are listed and not read, each with the reason."""
    unreachable: tuple[tuple[str, str], ...]
    """What the protocol does not show at all, each with the reason."""

    def to_json(self) -> dict[str, Any]:
        """The coverage for a script."""
        return {
            "mailbox": self.mailbox,
            "protocol": self.protocol,
            "read": list(self.read),
            "skipped": [{"folder": path, "why": why} for path, why in self.skipped],
            "unreachable": [{"what": what, "why": why} for what, why in self.unreachable],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a doctor's visit found."""

    findings: tuple[Finding, ...]
    coverage: tuple[Coverage, ...]

    @property
    def exit_code(self) -> int:
        """0 all well, 1 something needs attention, 2 configuration, 3 not reached or not signed in."""
        return max((finding.exit_code for finding in self.findings), default=0)

    def count(self) -> dict[State, int]:
        """How many findings there are of each state."""
        counted = Counter(finding.state for finding in self.findings)
        return {state: counted[state] for state in State}

    def to_json(self) -> dict[str, Any]:
        """The report for a script."""
        return {
            "exit_code": self.exit_code,
            "counts": {str(state): number for state, number in self.count().items()},
            "findings": [finding.to_json() for finding in self.findings],
            "coverage": [each.to_json() for each in self.coverage],
        }
