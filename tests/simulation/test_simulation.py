"""The short form of ``make simulate``: after any history, nothing lost, nothing twice."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.history import History, draw
from tests.simulation.world import live


@pytest.mark.parametrize("seed", range(30))
def test_nothing_lost_nothing_twice_after_a_history(tmp_path: Path, seed: int) -> None:
    live(draw(seed), tmp_path, seed)


@given(st.integers(1_000, 2_000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_nothing_lost_nothing_twice_after_any_history(seed: int) -> None:
    with TemporaryDirectory() as folder:
        live(draw(seed), Path(folder), seed)


def test_a_history_is_data_and_the_same_for_ever() -> None:
    history = draw(7)
    assert draw(7) == history
    assert History.from_json(history.to_json()) == history
