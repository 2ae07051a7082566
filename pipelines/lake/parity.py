"""The dataset ``parity``: a row per difference of each mailbox's newest comparison, replaced as a whole."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from pipelines.lake.schema import INSTANT
from pipelines.lake.storage import Lake

PARITY_SCHEMA = pa.schema(
    [
        ("at", INSTANT),
        ("grade", pa.string()),
        ("item", pa.string()),
        ("kind", pa.string()),
        ("folder", pa.string()),
        ("legacy_id", pa.string()),
        ("graph_id", pa.string()),
        ("message_id", pa.string()),
        ("subject", pa.string()),
        ("message_key", pa.string()),
        ("why", pa.string()),
        ("action", pa.string()),
    ]
)


def replace_parity(
    lake: Lake, mailbox: str, at: datetime, grade: str, differences: Sequence[Mapping[str, object]]
) -> None:
    """Put the differences of a new comparison in place of those of the last one."""
    rows = [{"at": at, "grade": grade, **each} for each in differences]
    lake.replace("parity", mailbox, "differences", pa.Table.from_pylist(rows, PARITY_SCHEMA))
