"""Spans of time: what may be asked for, and the months they are read in."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pipelines.errors import UsageError
from pipelines.ingest.span import read_span

NOW = datetime(2026, 4, 5, 13, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "end", "months"),
    [
        ("2024-01-01", "2024-02-01", ["2024-01-01"]),
        ("2024-01-15", "2024-03-02", ["2024-03-01", "2024-02-01", "2024-01-15"]),
        ("2024-01-15", "2024-01-16", ["2024-01-15"]),
        ("2023-12-31", "2024-01-02", ["2024-01-01", "2023-12-31"]),
        ("2026-04-05", "2026-04-06", ["2026-04-05"]),
    ],
)
def test_nothing_lost_between_the_months_of_a_span(first: str, end: str, months: list[str]) -> None:
    span = read_span(first, end, NOW)
    found = span.months()
    assert [f"{each.since:%Y-%m-%d}" for each in found] == months
    assert (found[0].before, found[-1].since) == (span.before, span.since)
    assert all(newer.since == older.before for newer, older in pairwise(found))


@pytest.mark.parametrize(
    ("first", "end", "said"),
    [
        ("2025-02-01", "2025-01-01", "--from 2025-02-01 is later than --to 2025-01-01"),
        ("2025-02-01", "2025-02-01", "--to is the first day that is not covered"),
        ("9999-12-31", "9999-12-31", "nothing lies between"),
        ("2025-02-01", "2025-02-30", "--to 2025-02-30 is not a date"),
        ("2025-2-1", "2025-03-01", "write it as YYYY-MM-DD"),
        ("20250201", "2025-03-01", "--from 20250201 is not a date"),
        ("٢٠٢٥-01-01", "2025-03-01", "is not a date"),
        ("2026-04-05", "2026-04-07", "--to 2026-04-06 covers today"),
        ("0025-02-01", "2025-02-01", "check the year"),
    ],
)
def test_bad_input_gets_a_clear_error(first: str, end: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_span(first, end, NOW)
    assert said in str(caught.value)
