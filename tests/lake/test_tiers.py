"""The plan of merging: few files are left, and no row is written often."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.lake.tiers import FAN_IN, Limit, SmallFile, most_open_files, plan

LIMIT = Limit(2_000, 32_000_000)
TIERS = 4
"""1, 8, 64 and 512 rows; a file of 1,000 is full."""


def files(*rows: int, content: int = 1_000) -> list[SmallFile]:
    return [SmallFile((f"{number}",), each, each * content) for number, each in enumerate(rows)]


def test_a_tier_is_merged_when_it_has_eight_files_and_not_before() -> None:
    assert plan(files(*[1] * (FAN_IN - 1)), LIMIT) == []
    assert plan(files(*[1] * FAN_IN), LIMIT) == [tuple("01234567")]


def test_files_keep_their_order() -> None:
    ((*paths,),) = plan(files(1, 9, 1, 1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9), LIMIT)
    assert sorted(paths, key=int) == [str(number) for number in range(15)]


def test_large_files_are_left_alone() -> None:
    assert plan(files(*[1_000] * 50), LIMIT) == []
    assert plan(files(*[1] * 50, content=16_000_000), LIMIT) == []


def test_bounded_memory_a_merged_file_holds_no_more_than_the_limit() -> None:
    given_files = files(*[999] * 20, content=9_000)
    held = {each.paths[0]: each for each in given_files}
    merged = plan(given_files, LIMIT)
    assert len(merged) >= 9
    for paths in merged:
        assert sum(held[path].rows for path in paths) <= LIMIT.rows
        assert sum(held[path].content for path in paths) <= LIMIT.content


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 1_500), st.integers(1, 300_000)), max_size=60), max_size=12)
)
def test_whatever_comes_few_files_stay_open_and_no_row_is_written_more_than_once_a_tier(
    days: list[list[tuple[int, int]]],
) -> None:
    written: dict[str, int] = {}
    now: dict[str, tuple[SmallFile, set[str]]] = {}
    """By path: the file, and the files that came which are in it."""
    for day, came in enumerate(days):
        for number, (rows, content) in enumerate(came):
            path = f"{day}-{number}"
            now[path] = SmallFile((path,), rows, rows * content), {path}
            written[path] = 0
        for number, paths in enumerate(plan([each for each, _ in now.values()], LIMIT)):
            parts = [now.pop(path) for path in paths]
            inside = set().union(*(each for _, each in parts))
            merged = SmallFile(
                (f"{day}-merged-{number}",),
                sum(each.rows for each, _ in parts),
                sum(each.content for each, _ in parts),
            )
            assert merged.rows <= LIMIT.rows
            assert merged.content <= LIMIT.content
            now[merged.paths[0]] = merged, inside
            for path in inside:
                written[path] += 1
        still_open = [
            each for each, _ in now.values() if each.rows < 1_000 and each.content < LIMIT.content // 2
        ]
        assert len(still_open) <= most_open_files(LIMIT) == (FAN_IN - 1) * TIERS
    assert max(written.values(), default=0) <= TIERS
    assert set().union(*(inside for _, inside in now.values())) == written.keys()
