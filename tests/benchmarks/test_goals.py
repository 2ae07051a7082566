"""Every benchmark still runs: with so little work that its figures mean nothing, and one of its mail sets."""

import json
from pathlib import Path

import pytest

from benchmarks import curves
from benchmarks.goals import BENCHMARKS, Benchmark, Goal, Result, results
from benchmarks.growth import rows_to
from benchmarks.scale import TINY

PEERS = {"ingest"}
"""They need mbsync, mu and notmuch, which the suite does not install."""


@pytest.mark.parametrize(
    "benchmark", [each for each in BENCHMARKS if each.name not in PEERS], ids=lambda each: each.name
)
def test_a_benchmark_measures_its_rows(benchmark: Benchmark) -> None:
    found = results(benchmark, TINY)
    assert found
    assert all(sample > 0 for each in found for sample in each.samples), found


def test_a_row_is_met_on_its_side_of_the_goal() -> None:
    most, least = Goal("most", "", 2), Goal("least", "", 2, at_least=True)
    assert [Result(most, [value]).is_met for value in (1, 2, 3)] == [True, True, False]
    assert [Result(least, [value]).is_met for value in (1, 2, 3)] == [False, True, True]
    assert Result(most, [9, 1, 2]).value == 2


def test_curves_are_drawn_from_what_was_measured(tmp_path: Path) -> None:
    growth = list(rows_to(50)) + list(rows_to(100))
    mailboxes = [
        {"mailboxes": size, "pass_cpu_ms": 30.0, "run_cpu_ms": 60.0, "tick_cpu_ms": 5.0 + size}
        for size in (1, 10)
    ]
    curves.draw(growth, json.loads(json.dumps(mailboxes)), tmp_path)
    for name in ("growth-storing", "growth-finding", "growth-mailboxes"):
        assert "<polyline " in (tmp_path / f"{name}.svg").read_text()
