"""Hypothesis lives the histories too: it looks for the shortest that breaks an invariant.

The suite runs a short form that is the same each time. For long:
``python -m pytest tests/simulation/test_stateful.py --hypothesis-profile simulation``.
"""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pipelines.cutover.phases import Phase
from tests.simulation.conftest import PROFILE, SHORT
from tests.simulation.history import LAST_TICK, Act, Setting, Step
from tests.simulation.machine import without_threads
from tests.simulation.world import PHASES, World

NUMBERS = st.tuples(*[st.integers(0, 11)] * 3)
MOMENTS = st.integers(1, LAST_TICK)
MEANWHILE = st.sampled_from(
    ["deliver", "twin", "edit", "move", "there_and_back", "delete", "renumber", "poison"]
)
FAULTS = st.sampled_from(["crash", "crash", "lost", "throttled", "refused", "steal"])
SETTINGS = st.builds(
    Setting,
    legacy=st.sampled_from(["imap", "pop3"]),
    compare=st.sampled_from(["listing", "sample 50%", "full"]),
    batch_bytes=st.sampled_from([300, 600, 10_000]),
    page_size=st.sampled_from([1, 2, 50]),
    trailing_days=st.sampled_from([0, 14]),
    rollback_after=st.sampled_from([None, 2]),
    size_step=st.sampled_from([1, 64]),
    server_ahead=st.sampled_from([0, -4, 4]),
    graph_late=st.sampled_from([0, 2]),
    lost_at_the_end=st.booleans(),
)


@st.composite
def interruptions(draw: st.DrawFn) -> tuple[Act, ...]:
    """What happens during a run: at most two acts of the tenant, and one fault."""
    acts = [
        *draw(st.lists(st.builds(Act, MEANWHILE, NUMBERS, MOMENTS), max_size=2)),
        *draw(st.lists(st.builds(Act, FAULTS, NUMBERS, MOMENTS), max_size=1)),
    ]
    return tuple(sorted(acts, key=lambda act: act.at))


class Mailbox(RuleBasedStateMachine):
    """A mailbox, and every run that can meet it; whatever the order, it ends in quiet."""

    @initialize(setting=SETTINGS)
    def begin(self, setting: Setting) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(TemporaryDirectory())
        self.stack.enter_context(without_threads())
        self.world = World(Path(folder), setting)
        self.stack.callback(self.world.close)

    def let(self, name: str, numbers: tuple[int, ...] = (), during: tuple[Act, ...] = ()) -> None:
        self.world.step(Step(Act(name, numbers), during))

    @rule(name=st.sampled_from(["deliver", "twin", "again", "copy"]), numbers=NUMBERS)
    def mail_comes(self, name: str, numbers: tuple[int, ...]) -> None:
        self.let(name, numbers)

    @rule(numbers=NUMBERS)
    def edit(self, numbers: tuple[int, ...]) -> None:
        self.let("edit", numbers)

    @rule(numbers=NUMBERS)
    def move(self, numbers: tuple[int, ...]) -> None:
        self.let("move", numbers)

    @rule(numbers=NUMBERS)
    def move_there_and_back(self, numbers: tuple[int, ...]) -> None:
        self.let("there_and_back", numbers)

    @rule(numbers=NUMBERS)
    def delete(self, numbers: tuple[int, ...]) -> None:
        self.let("delete", numbers)

    @rule(numbers=NUMBERS)
    def flag(self, numbers: tuple[int, ...]) -> None:
        self.let("flag", numbers)

    @rule(name=st.sampled_from(["new_folder", "rename_folder", "delete_folder"]), numbers=NUMBERS)
    def folders_change(self, name: str, numbers: tuple[int, ...]) -> None:
        self.let(name, numbers)

    @rule(numbers=NUMBERS)
    def reset_uidvalidity(self, numbers: tuple[int, ...]) -> None:
        self.let("renumber", numbers)

    @rule()
    def expire_delta(self) -> None:
        self.let("forget_delta")

    @rule(name=st.sampled_from(["poison", "heal", "hide", "show", "quirk"]), numbers=NUMBERS)
    def servers_misbehave(self, name: str, numbers: tuple[int, ...]) -> None:
        self.let(name, numbers)

    @rule(during=interruptions())
    def read(self, during: tuple[Act, ...]) -> None:
        self.let("pass", (0,), during)

    @rule(during=interruptions())
    def compare(self, during: tuple[Act, ...]) -> None:
        self.let("compare", (0,), during)

    @rule(to=st.sampled_from(Phase), during=interruptions())
    def switch(self, to: Phase, during: tuple[Act, ...]) -> None:
        self.let("switch", (PHASES.index(to), 1), during)

    @rule(during=interruptions())
    def wave(self, during: tuple[Act, ...]) -> None:
        self.let("policy", (0,), during)

    @rule()
    def accept(self) -> None:
        self.let("accept")

    @rule()
    def another_run_has_it(self) -> None:
        self.let("held")

    @rule(name=st.sampled_from(["verify", "renormalise", "rebuild"]), during=interruptions())
    def redo(self, name: str, during: tuple[Act, ...]) -> None:
        self.let(name, (0,), during)

    @rule(name=st.sampled_from(["lose_index", "keep_copy", "restore_copy"]))
    def index_changes(self, name: str) -> None:
        self.let(name)

    @rule(hours=st.integers(0, 8))
    def wait(self, hours: int) -> None:
        self.let("wait", (hours,))

    @rule()
    def quiet(self) -> None:
        self.let("quiet")

    def teardown(self) -> None:
        if hasattr(self, "world"):
            with self.stack:
                self.world.end()


AS_LONG_AS_ASKED = settings.get_current_profile_name() == PROFILE
TestNothingLostNothingTwiceNothingMergedSilently = Mailbox.TestCase
TestNothingLostNothingTwiceNothingMergedSilently.settings = (
    settings() if AS_LONG_AS_ASKED else settings(SHORT, max_examples=12, stateful_step_count=12)
)
