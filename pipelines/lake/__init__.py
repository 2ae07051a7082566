"""The lake: every message once, as Parquet, in a folder or an object store.

``Lake`` itself is in ``pipelines.lake.storage``: it needs pyarrow, which most of the index's readers do not.
"""

from pipelines.lake.datasets import DataFile, Dataset, Listing, partition, year_of
from pipelines.lake.rows import MessageRow, RawRow

__all__ = ["DataFile", "Dataset", "Listing", "MessageRow", "RawRow", "partition", "year_of"]
