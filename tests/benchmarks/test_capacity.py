"""The virtual tenant gives the figures that can be worked out by hand."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import Tenant, first_sync, measure, round_
from benchmarks.pace import PER_SECOND

SMALL = Tenant(mailboxes=60, messages=500, per_run=10, runs=2, concurrency=4)
ALONE = Tenant(
    mailboxes=1, messages=200_000, spread=0.0, answer=0.01, page=0.01, megabytes=1e6, cpu=0.0, start=0.0
)


def test_one_large_mailbox_takes_what_graphs_limit_lets_through() -> None:
    account = first_sync(ALONE)
    assert account.messages == 200_000
    at_the_limit = 200_000 / PER_SECOND
    assert 0.95 * at_the_limit < account.seconds < 1.03 * at_the_limit
    assert max(account.bound, key=lambda each: account.bound[each]) == capacity.OWN_LIMIT


@pytest.mark.parametrize(
    ("change", "seconds", "bound"),
    [
        ({"answer": 1.0}, 200_000 / 4, capacity.FLIGHT),
        ({"megabytes": 0.5, "kilobytes": 100.0}, 200_000 * 0.1 / 0.5, capacity.NETWORK),
        ({"cpu": 0.25}, 200_000 / 4, capacity.CPU),
        ({"per_second": 12}, 200_000 / 12, capacity.ALL_LIMIT),
    ],
)
def test_what_is_scarce_bounds_it(change: dict[str, float], seconds: float, bound: str) -> None:
    account = first_sync(replace(ALONE, **change))  # type: ignore[arg-type]
    assert 0.95 * seconds < account.seconds < 1.2 * seconds
    assert max(account.bound, key=lambda each: account.bound[each]) == bound


def test_places_bound_many_mailboxes_and_twice_as_many_halve_the_time() -> None:
    some = replace(SMALL, mailboxes=800, spread=0.0, per_run=100)
    one, two = (first_sync(replace(some, runs=runs)).seconds for runs in (1, 2))
    assert 1.9 < one / two < 2.1


def test_an_idle_round_asks_what_the_documentation_says_of_each_mailbox() -> None:
    account = round_(SMALL, new=False)
    assert account.requests == 60 * (8 + 1 + SMALL.parents + 2 * SMALL.folders)
    assert len(account.ends) == 60


def test_every_message_of_every_mailbox_is_read_once() -> None:
    figures = measure(SMALL)
    assert figures["first_sync"]["messages"] == sum(SMALL.sizes())
    assert sum(figures["first_sync"]["bound_by"].values()) == pytest.approx(1.0)


def test_the_command_prints_json_and_draws(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = "capacity --mailboxes 20 --messages 100 --per-run 5 --json --plots"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path)])
    capacity.main()
    assert json.loads(capsys.readouterr().out)["assumed"]["mailboxes"] == 20
    drawn = [each.read_text() for each in sorted(tmp_path.glob("*.svg"))]
    assert len(drawn) == 2
    assert all(each.startswith("<svg ") for each in drawn)
    assert [each.count("<polyline") for each in drawn] == [3, 4]
