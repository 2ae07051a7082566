"""Reading the lake again with the present normaliser: never the server."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from pipelines.index.changes import NewMessage
from pipelines.index.commit import insert_files, insert_messages, replace_messages
from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks, message_rows
from pipelines.index.tables import data_files, messages, occurrences, raws
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset, Lake, MessageRow
from pipelines.lake.schema import messages_table
from pipelines.mime import Record, normalise, plain_text
