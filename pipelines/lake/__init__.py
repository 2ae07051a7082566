"""The lake: every message once, as Parquet, in a folder or an object store."""

from pipelines.lake.rows import MessageRow, RawRow
from pipelines.lake.storage import DataFile, Dataset, Lake, partition, year_of

__all__ = ["DataFile", "Dataset", "Lake", "MessageRow", "RawRow", "partition", "year_of"]
