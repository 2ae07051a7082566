"""Histories as data: what happens to a mailbox and to the runs that read it, drawn from a seed.

An act names what it is about by numbers that are resolved when it happens ("the message
number 7, modulo those there are"), so that any part of a history is a history.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

LAST_TICK = 90
"""A pass over a small mailbox has about so many moments at which something else can happen."""

_TENANT = {
    "deliver": 10,
    "twin": 3,
    "again": 2,
    "edit": 6,
    "move": 4,
    "there_and_back": 3,
    "copy": 2,
    "delete": 4,
    "flag": 2,
    "new_folder": 1,
    "rename_folder": 2,
    "delete_folder": 1,
    "renumber": 2,
    "forget_delta": 2,
    "poison": 2,
    "heal": 2,
    "hide": 1,
    "show": 1,
    "quirk": 2,
}
"""What people and the server do to a mailbox, and how often."""
_RUNS = {
    "pass": 22,
    "switch": 12,
    "compare": 2,
    "policy": 3,
    "accept": 2,
    "quiet": 3,
    "held": 1,
    "verify": 2,
    "renormalise": 1,
    "rebuild": 1,
    "lose_index": 1,
    "keep_copy": 1,
    "restore_copy": 1,
    "wait": 2,
}
"""What runs are started, and what becomes of the index between them."""
_INTERRUPTIONS = {"crash": 5, "lost": 3, "throttled": 1, "refused": 1, "steal": 2}
"""What happens to a run itself, beside changes of the mailbox while it is being read."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens; ``at`` is the moment of the run during which it does, 0 for by itself."""

    name: str
    numbers: tuple[int, ...] = ()
    at: int = 0

    def __str__(self) -> str:
        told = f"{self.name}({', '.join(map(str, self.numbers))})"
        return f"{told}@{self.at}" if self.at else told


@dataclass(frozen=True, slots=True)
class Step:
    """An act, and what happens while it is going on."""

    act: Act
    during: tuple[Act, ...] = ()

    def __str__(self) -> str:
        return " ".join([str(self.act), *(f"| {each}" for each in self.during)])


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not change in a history."""

    legacy: str = "imap"
    compare: str = "listing"
    batch_bytes: int = 600
    page_size: int = 3
    trailing_days: int = 14
    clean_parities: int = 1
    rollback_after: int | None = None
    size_step: int = 1
    server_ahead: int = 0
    """Seconds."""
    graph_late: int = 0
    """By how many seconds Graph's time of receipt differs."""
    lost_at_the_end: bool = False
    """Whether the index is lost once more after the end, and built from the lake."""


@dataclass(frozen=True, slots=True)
class History:
    """A setting and what happens in it."""

    setting: Setting
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join([str(self.setting), *(f"  {step}" for step in self.steps)])

    def to_json(self) -> str:
        """The history as a line to be kept."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "History":
        """The history that ``to_json`` wrote."""
        told = json.loads(text)
        return cls(
            Setting(**told["setting"]),
            tuple(Step(_act(each["act"]), tuple(map(_act, each["during"]))) for each in told["steps"]),
        )


def _act(told: dict[str, object]) -> Act:
    numbers, at = told["numbers"], told["at"]
    assert isinstance(numbers, list)
    assert isinstance(at, int)
    return Act(str(told["name"]), tuple(numbers), at)


def draw(seed: int) -> History:
    """The history of a seed: the same for ever, as long as this module stays the same."""
    dice = Random(seed)
    setting = Setting(
        legacy=dice.choice(["imap", "imap", "pop3"]),
        compare=dice.choice(["listing", "listing", "sample 50%", "full"]),
        batch_bytes=dice.choice([300, 600, 10_000]),
        page_size=dice.choice([1, 2, 3, 50]),
        trailing_days=dice.choice([0, 14, 14]),
        clean_parities=dice.choice([1, 2]),
        rollback_after=dice.choice([None, 2]),
        size_step=dice.choice([1, 1, 64]),
        server_ahead=dice.choice([0, 0, -4, 4]),
        graph_late=dice.choice([0, 0, 0, 2]),
        lost_at_the_end=dice.random() < 0.15,
    )
    calm = dice.random() < 0.4
    steps: list[Step] = []
    for _ in range(dice.randint(3, 12)):
        steps += [Step(act) for act in _acts(dice, _TENANT, dice.randint(0, 3))]
        run = next(_acts(dice, _RUNS, 1))
        steps.append(Step(run, () if calm else _during(dice)))
    return History(setting, tuple(steps))


def _during(dice: Random) -> tuple[Act, ...]:
    acts = [*_acts(dice, _TENANT, dice.choice([0, 0, 1, 1, 2]))]
    acts += _acts(dice, _INTERRUPTIONS, dice.choice([0, 0, 0, 1]))
    timed = [replace(act, at=min(dice.randint(1, LAST_TICK), dice.randint(1, LAST_TICK))) for act in acts]
    return tuple(sorted(timed, key=lambda act: act.at))


def _acts(dice: Random, weights: dict[str, int], count: int) -> Iterator[Act]:
    for name in dice.choices(list(weights), list(weights.values()), k=count):
        yield Act(name, tuple(dice.randint(0, 11) for _ in range(3)))


def shrink(history: History, fails: Callable[[History], bool]) -> History:
    """A smaller history that fails as well: fewer steps first, then fewer interruptions."""
    steps = list(history.steps)
    size = len(steps)
    while size:
        start = 0
        while start < len(steps):
            fewer = [*steps[:start], *steps[start + size :]]
            if fewer and fails(replace(history, steps=tuple(fewer))):
                steps = fewer
            else:
                start += size
        size //= 2
    for number, step in enumerate(steps):
        for smaller in _calmer(step):
            tried = [*steps[:number], smaller, *steps[number + 1 :]]
            if fails(replace(history, steps=tuple(tried))):
                steps = tried
                break
    return replace(history, steps=tuple(steps))


def _calmer(step: Step) -> Sequence[Step]:
    """The step with none of its interruptions, or with one fewer."""
    if not step.during:
        return []
    fewer = [
        replace(step, during=tuple(each for each in step.during if each is not left)) for left in step.during
    ]
    return [replace(step, during=()), *fewer]
