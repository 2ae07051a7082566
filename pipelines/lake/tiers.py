"""Which small files are worth merging: a plan that writes every row a bounded number of times.

Files are sorted into tiers by their rows, each tier eight times the one below. A tier
with eight files or more is merged, and only into what is full or belongs to a higher
tier, so that a row is written anew once per tier at most.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

FAN_IN = 8
"""Files of one tier that are merged. Over a year of rounds every 15 minutes, compacted once a day, 4
leaves 6 open files and 8 leaves 14, at about the same cost; below 1,000 rows 8 has four tiers, 4 has five."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What one file may hold; from half of it on, it is full and left alone."""

    rows: int
    content: int
    """Bytes of MIME behind the rows, which is what reading the file back takes."""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A published file, or what files merged would hold."""

    paths: tuple[str, ...]
    rows: int
    content: int


def plan(files: Iterable[SmallFile], limit: Limit) -> list[tuple[str, ...]]:
    """Paths to be merged, a tuple for each new file; ``files`` of one partition, in the order they came."""
    groups = [each for each in files if not _full(each, limit)]
    done: list[SmallFile] = []
    tier = 0
    while any(_tier(each) >= tier for each in groups):
        here = [each for each in groups if _tier(each) == tier]
        if len(here) >= FAN_IN:
            groups = [each for each in groups if _tier(each) != tier]
            for packed in _pack(here, limit):
                merged = _merge(packed)
                if _full(merged, limit):
                    done.append(merged)
                elif _tier(merged) > tier:
                    groups.append(merged)
                else:
                    groups += packed
        tier += 1
    return [each.paths for each in (*done, *groups) if len(each.paths) > 1]


def most_open_files(limit: Limit) -> int:
    """How many files that are not full a partition has at most, once it is compacted."""
    return (FAN_IN - 1) * (int(log(limit.rows // 2, FAN_IN)) + 1)


def _tier(file: SmallFile) -> int:
    tier, rows = 0, file.rows
    while rows >= FAN_IN:
        tier, rows = tier + 1, rows // FAN_IN
    return tier


def _full(file: SmallFile, limit: Limit) -> bool:
    return file.rows * 2 >= limit.rows or file.content * 2 >= limit.content


def _pack(files: Sequence[SmallFile], limit: Limit) -> list[list[SmallFile]]:
    """Runs of files that fit into one; all of them but the last are full then, since no file is half full."""
    packs: list[list[SmallFile]] = [[]]
    rows = content = 0
    for each in files:
        if rows + each.rows > limit.rows or content + each.content > limit.content:
            packs.append([])
            rows = content = 0
        packs[-1].append(each)
        rows, content = rows + each.rows, content + each.content
    return packs


def _merge(files: Sequence[SmallFile]) -> SmallFile:
    return SmallFile(
        tuple(path for each in files for path in each.paths),
        sum(each.rows for each in files),
        sum(each.content for each in files),
    )
