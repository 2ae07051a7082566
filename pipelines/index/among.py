"""One of many values, as one parameter.

``IN`` with a parameter for each value costs SQLAlchemy more than the database: names, binds and
a new text of the statement for each number of values. A list that the database takes apart
itself costs a tenth.
"""

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa


def among(
    connection: sa.Connection, column: sa.ColumnElement[Any], values: Iterable[str] | Iterable[int]
) -> sa.ColumnElement[bool]:
    """Whether ``column`` has one of the values, which are all texts or all numbers."""
    listed = list(values)
    if connection.dialect.name == "postgresql":
        kind = sa.BigInteger() if listed and isinstance(listed[0], int) else sa.Text()
        return column == sa.any_(sa.literal(listed, sa.ARRAY(kind)))
    each = sa.func.json_each(json.dumps(listed, ensure_ascii=False)).table_valued("value")
    return column.in_(sa.select(each.c.value))
