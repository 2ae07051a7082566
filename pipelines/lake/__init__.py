"""The lake: every message once, as Parquet, in a folder or an object store."""

from pipelines.lake.rows import MessageRow, RawRow
from pipelines.lake.storage import DataFile, Dataset, Lake, Listing, partition, year_of

__all__ = ["DataFile", "Dataset", "Lake", "Listing", "MessageRow", "RawRow", "partition", "year_of"]
