"""Columns and records: what stands where."""

import pyarrow as pa
import pytest

from pipelines.lake.schema import ADDRESS, ATTACHMENT, BOUNCE, MEETING
from pipelines.mime import Address, Attachment, BounceRecipient, Meeting


@pytest.mark.parametrize(
    ("struct", "names"),
    [
        (ADDRESS, Address._fields),
        (ATTACHMENT, Attachment._fields),
        (BOUNCE, BounceRecipient._fields),
        (MEETING, Meeting._fields),
    ],
)
def test_a_struct_has_the_fields_of_its_tuple_in_their_order(
    struct: pa.StructType, names: tuple[str, ...]
) -> None:
    assert tuple(struct.names) == names
