"""Files of the lake: written once, published whole, listed, read.

A local file is written under a hidden name, synced and renamed; an object store gets
one PUT. Either way a reader sees a file entirely or not at all.
"""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.errors import MailoverError, UnreachableError
from pipelines.lake.datasets import DataFile, Dataset, Listing, data_path, partition
from pipelines.lake.replacing import make_private, show_instead, sync
from pipelines.lake.stores import open_store

_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK = 1024 * 1024
# Arrow's own choice of allocator keeps some 70 MB of what a large message took and gave back.
pa.set_memory_pool(pa.system_memory_pool())
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    # glibc goes on to keep blocks as large as the largest it was given back, in every thread.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""One row group is what a reader of a single message has to decompress."""
_ASIDE = "control/aside"
"""Where folders are put together, or fallen out of use, while a file takes the place of others."""
_HOMES = ("raw", "messages", "parity", "control/fallback", f"{_ASIDE}/raw", f"{_ASIDE}/messages")
"""Folders with a partition for each mailbox."""
_STAGED = ".staged"
_DICTIONARY = ["protocol", "folder", "fidelity"]


class Lake:
    """A lake at a folder or at an object store's URL (``s3://``, ``gs://``, ``abfss://``)."""

    def __init__(self, url: str) -> None:
        self.is_local = "://" not in url
        """Whether a file is written as fast as a disk can."""
        with self._reached("its root"):
            self._filesystem, self.root = open_store(url)
        if self.is_local:
            with _named_errors(self.root):
                make_private(Path(self.root))

    def publish(
        self,
        dataset: Dataset,
        mailbox: str,
        year: int,
        stem: str,
        table: pa.Table,
        *,
        staged: bool = False,
    ) -> DataFile:
        """Write ``table`` as one Parquet file that appears whole; if ``staged``, by ``take_place`` only."""
        path = data_path(dataset, mailbox, year, stem)
        rows_per_group = max(1, int(table.num_rows * ROW_GROUP_BYTES / max(table.nbytes, 1)))
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in _DICTIONARY if name in table.column_names],
            write_statistics=["received_at"],
            row_group_size=rows_per_group,
        )
        content = sink.getvalue()
        self._write(_staged(path) if staged else path, content)
        return DataFile(dataset, path, table.num_rows, content.size)

    def take_place(self, path: str, old: Collection[str]) -> None:
        """Show the staged file ``path`` instead of the ``old`` ones of its folder; repeatable.

        Where folders can be exchanged, a listing shows the one or the others. Elsewhere both
        stand beside each other for as long as deleting takes: rows twice, never missing.
        """
        if self.is_local:
            root = Path(self.root)
            aside = root / _ASIDE / path.rpartition("/")[0]
            with _named_errors(path):
                show_instead(root / path, root / _staged(path), {root / each for each in old}, aside)
            return
        with self._reached(path):
            self._filesystem.copy_file(f"{self.root}/{_staged(path)}", f"{self.root}/{path}")
        for each in (*old, _staged(path)):
            self.delete(each)

    def discard_staged(self, path: str) -> None:
        """Delete a staged file that no commit has named."""
        self.delete(_staged(path))

    def discard_aside(self, mailbox: str) -> None:
        """Delete what a crash in ``take_place`` has left aside."""
        if self.is_local:
            for dataset in Dataset:
                shutil.rmtree(Path(self.root) / _ASIDE / dataset / partition(mailbox), ignore_errors=True)

    def replace(self, dataset: str, mailbox: str, stem: str, table: pa.Table) -> None:
        """Put ``table`` in place of a file of a dataset that is replaced as a whole."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write(f"{dataset}/{partition(mailbox)}/{stem}.parquet", sink.getvalue())

    def files(self, dataset: Dataset, mailbox: str) -> set[str]:
        """Paths of all published files of a mailbox, whether or not the index knows them."""
        return self.listing(dataset, mailbox).published

    def listing(self, dataset: Dataset, mailbox: str) -> Listing:
        """What lies in a mailbox's partition of a dataset."""
        found = Listing(set(), set())
        for info in self._list(f"{dataset}/{partition(mailbox)}", recursive=True):
            path = info.path.removeprefix(self.root).lstrip("/")
            folder, _, name = path.rpartition("/")
            if info.is_file and name.endswith(".parquet") and not name.startswith((".", "_")):
                found.published.add(path)
            elif info.is_file and name.startswith(".") and name.endswith(_STAGED):
                found.staged.add(f"{folder}/{name[1:].removesuffix(_STAGED)}")
        return found

    def mailboxes(self) -> set[str]:
        """Every mailbox that has a partition in either dataset."""
        found = [info.base_name for dataset in Dataset for info in self._list(dataset)]
        return {unquote(name.removeprefix("mailbox=")) for name in found if "=" in name}

    def size(self, path: str) -> int:
        """Bytes of a published file."""
        with self._reached(path):
            size: int = self._filesystem.get_file_info(f"{self.root}/{path}").size
        return size

    def describe(self, dataset: Dataset, path: str) -> DataFile:
        """What a published file holds."""
        with self._open(path) as file:
            return DataFile(dataset, path, file.metadata.num_rows, self.size(path))

    def read(self, path: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of one file, a row group's worth at a time at most."""
        with self._open(path) as file:
            for group in range(file.metadata.num_row_groups):
                yield from file.read_row_group(group, columns=columns).to_batches()

    def find(self, path: str, column: str, value: str) -> dict[str, Any] | None:
        """The first row of a file whose ``column`` is ``value``; reads one row group in full."""
        with self._open(path) as file:
            for group in range(file.metadata.num_row_groups):
                keys = file.read_row_group(group, columns=[column]).column(0).to_pylist()
                if value in keys:
                    row = file.read_row_group(group).slice(keys.index(value), 1)
                    found: dict[str, Any] = row.to_pylist()[0]
                    return found
        return None

    def delete(self, path: str) -> None:
        """Remove one file."""
        with self._reached(path):
            self._filesystem.delete_file(f"{self.root}/{path}")

    def write_control(self, name: str, value: object) -> None:
        """Keep a copy of some of the index's state as JSON in ``control/``."""
        self._write(_control(name), json.dumps(value, indent=1, sort_keys=True).encode())

    def read_control(self, name: str) -> Any | None:
        """What ``write_control`` last wrote under this name."""
        try:
            return json.loads(self._bytes(_control(name)))
        except FileNotFoundError:
            return None

    def keep_fallback(self, mailbox: str, sha256: str, content: bytes) -> None:
        """Keep what a server offered instead of a message, outside the datasets."""
        self._write(_fallback(mailbox, sha256), content)

    def read_fallback(self, mailbox: str, sha256: str) -> bytes:
        """What ``keep_fallback`` kept."""
        return self._bytes(_fallback(mailbox, sha256))

    def erase(self, mailbox: str) -> tuple[int, int]:
        """Delete everything of a mailbox, hidden files too; how many files, and their bytes."""
        files = size = 0
        for home in _HOMES:
            folder = f"{home}/{partition(mailbox)}"
            found = [info for info in self._list(folder, recursive=True) if info.is_file]
            files, size = files + len(found), size + sum(info.size for info in found)
            with self._reached(folder):
                if self._filesystem.get_file_info(f"{self.root}/{folder}").type == pafs.FileType.Directory:
                    self._filesystem.delete_dir(f"{self.root}/{folder}")
        name = _control(f"mailboxes/{partition(mailbox)}")
        with self._reached(name):
            control = self._filesystem.get_file_info(f"{self.root}/{name}")
            if control.is_file:
                files, size = files + 1, size + control.size
                self._filesystem.delete_file(control.path)
        return files, size

    def _list(self, path: str, *, recursive: bool = False) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(f"{self.root}/{path}", allow_not_found=True, recursive=recursive)
        with self._reached(path):
            found: list[pafs.FileInfo] = self._filesystem.get_file_info(selector)
        return found

    @contextmanager
    def _open(self, path: str) -> Iterator[pq.ParquetFile]:
        with self._reached(path), self._input(path) as source, pq.ParquetFile(source) as file:
            yield file

    def _input(self, path: str) -> pa.NativeFile:
        try:
            return self._filesystem.open_input_file(f"{self.root}/{path}")
        except FileNotFoundError:
            # Between the commit that names a merged file and the moment it takes its place.
            with suppress(FileNotFoundError):
                return self._filesystem.open_input_file(f"{self.root}/{_staged(path)}")
            return self._filesystem.open_input_file(f"{self.root}/{path}")

    def _bytes(self, path: str) -> bytes:
        with self._reached(path), self._filesystem.open_input_file(f"{self.root}/{path}") as source:
            content: bytes = source.read()
            return content

    def _write(self, path: str, content: Any) -> None:
        if self.is_local:
            with _named_errors(path):
                _write_durably(Path(self.root) / path, content)
            return
        with self._reached(path), self._filesystem.open_output_stream(f"{self.root}/{path}") as sink:
            sink.write(content)

    @contextmanager
    def _reached(self, path: str) -> Iterator[None]:
        """Tell an object store that does not answer from a file that is damaged or gone."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.is_local:
                raise
            cause = str(error).partition("\n")[0]
            raise UnreachableError(
                f"storage.lake: the object store fails at {path}: {cause}",
                remedy="check bucket, region and credentials; the next run goes on from the last commit",
            ) from None


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MailoverError(
            f"storage.lake: {path} cannot be written: {error.strerror or error}",
            remedy="check free space and permissions; the next run goes on from the last commit",
        ) from None


def _control(name: str) -> str:
    return f"control/{name}.json"


def _fallback(mailbox: str, sha256: str) -> str:
    return f"control/fallback/{partition(mailbox)}/{sha256}"


def _staged(path: str) -> str:
    """Its hidden name, which does not end like a data file's: some readers look at nothing else."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}{_STAGED}"


def _write_durably(path: Path, content: Any) -> None:
    make_private(path.parent)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(memoryview(content))
        file.flush()
        os.fsync(file.fileno())
    hidden.rename(path)
    sync(path.parent)
