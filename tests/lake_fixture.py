"""Where the lake of a test lies, and what any reader finds in it."""

import os
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.fs as pafs

from pipelines.lake.storage import Lake

LAKE_VARIABLE = "MAILOVER_TEST_LAKE"
"""An object store's URL, for the test and for the processes it starts."""


def lake_url(folder: Path) -> str:
    """The URL of the test's lake: a folder in ``folder``, unless the environment names an object store."""
    return os.environ.get(LAKE_VARIABLE) or str(folder / "lake")


def rows_of(lake: Lake, dataset: str) -> list[dict[str, object]]:
    """What any reader of ``**/*.parquet`` finds in a dataset."""
    root = f"{lake.root}/{dataset}"
    if lake._filesystem.get_file_info(root).type != pafs.FileType.Directory:
        return []
    found = pads.dataset(root, filesystem=lake._filesystem, format="parquet", partitioning="hive")
    rows: list[dict[str, object]] = found.to_table().to_pylist()
    return rows
