"""The datasets of the lake, and where a mailbox's files of them lie."""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote


class Dataset(StrEnum):
    """What the lake holds; ``control/`` beside them is for copies of the index's own state."""

    RAW = "raw"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A published Parquet file, ``path`` relative to the lake with ``/``."""

    dataset: Dataset
    path: str
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Paths of one dataset of a mailbox."""

    published: set[str]
    """What every reader sees."""
    staged: set[str]
    """Files under a hidden name: the paths where they are to stand."""


def partition(mailbox: str) -> str:
    """The hive path segment of a mailbox."""
    return f"mailbox={quote(mailbox, safe='')}"


def year_of(path: str) -> int:
    """The year whose partition a data file is in."""
    return int(path.rpartition("/year=")[2].partition("/")[0])


def data_path(dataset: Dataset, mailbox: str, year: int, stem: str) -> str:
    """Where a file of a dataset stands in the lake."""
    return f"{dataset}/{partition(mailbox)}/year={year}/{stem}.parquet"
