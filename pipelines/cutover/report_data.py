"""What the report shows, gathered from the index in a few queries however many mailboxes there are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.cutover.parity import GRADES, Grade, Kind
from pipelines.cutover.phases import Phase
from pipelines.cutover.policy import Wave, plan
from pipelines.index.journal import Transition, all_history
from pipelines.index.parity import Difference, open_differences
from pipelines.index.status import MailboxStatus, quarantine_reasons, status
from pipelines.ingest.workspace import Workspace

LAGS = ("under 1 h", "1 to 6 h", "6 to 24 h", "over a day", "never read")
_HOURS = (1, 6, 24)
_POINTS = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """How many mailboxes were in each phase at one time."""

    at: datetime
    phases: Counter[str]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page."""

    at: datetime
    mailboxes: list[MailboxStatus]
    timeline: list[Moment]
    waves: list[Wave]
    lags: Counter[str]
    quarantine: dict[str, int]
    """Open entries by reason."""
    needed: list[tuple[str, Difference]]
    """Address and difference, for what a person has to look at; the worst first."""
    journal: list[tuple[str, Transition]]
    """The newest first."""

    @property
    def phases(self) -> Counter[str]:
        """Mailboxes by phase, now."""
        return Counter(each.phase for each in self.mailboxes)

    @property
    def grades(self) -> Counter[str]:
        """Mailboxes by the grade of their newest comparison."""
        return Counter(each.parity or "not compared" for each in self.mailboxes)


def gather(workspace: Workspace) -> ReportData:
    """The state of all configured mailboxes, now."""
    now = workspace.clock.now()
    addresses = [each.address for each in workspace.config.mailboxes]
    mailboxes = status(workspace.index, addresses, now)
    journal = [each for each in all_history(workspace.index) if each[0] in set(addresses)]
    needed = [
        (address, each)
        for address, each in open_differences(workspace.index)
        if address in set(addresses) and GRADES[Kind(each.kind)] in (Grade.POOR, Grade.INVESTIGATE)
    ]
    needed.sort(key=lambda found: GRADES[Kind(found[1].kind)] is not Grade.POOR)
    return ReportData(
        now,
        mailboxes,
        _timeline(mailboxes, journal, now),
        plan(workspace, any_hour=True).waves,
        Counter(_lag(each.lag) for each in mailboxes),
        quarantine_reasons(workspace.index),
        needed,
        journal[::-1],
    )


def _timeline(
    mailboxes: Sequence[MailboxStatus], journal: Sequence[tuple[str, Transition]], now: datetime
) -> list[Moment]:
    """Phases from a day before the first transition until now; walked backwards from how it is now."""
    if not journal:
        return []
    begin = journal[0][1].at - timedelta(days=1)
    step = (now - begin) / _POINTS
    phases = Counter[str](each.phase for each in mailboxes)
    left, moments = list(journal), []
    for point in range(_POINTS, -1, -1):
        at = begin + point * step
        while left and left[-1][1].at > at:
            transition = left.pop()[1]
            phases[transition.phase_to] -= 1
            phases[transition.phase_from] += 1
        moments.append(Moment(at, phases.copy()))
    return moments[::-1]


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return LAGS[-1]
    return next((name for name, hours in zip(LAGS, _HOURS, strict=False) if seconds < hours * 3600), LAGS[3])


PHASES = [phase.value for phase in Phase]
