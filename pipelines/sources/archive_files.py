"""The mail files at some paths: to which folder they belong, and the messages in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.sources.archive_letters import (
    Form,
    Letter,
    NotReadError,
    Where,
    form_of,
    mbox_letter,
    read_letter,
)
from pipelines.sources.archive_mbox import read_message, spans
from pipelines.sources.archive_names import folder_path, readable

_MAILDIR = ("cur", "new", "tmp")
_MAILBOX = ("maildir", ".maildir", "mail")
"""What a mailbox's own Maildir is called in a person's directory."""


@dataclass(frozen=True, slots=True)
class Place:
    """An mbox, a Maildir, or the single messages of a directory: a folder of an archive, or a part of one."""

    path: Path
    form: Form
    """``EML`` for a directory of single messages in any form, and for one such file."""
    folder: str
    """Its path below the root; empty at the root."""
    own_name: str
    """What the folder is called where it lies at the root."""
    root: Path
    """The directory that was asked for, or that of the file that was: one archive."""


class MailFiles:
    """What holds mail at some paths, found by names and first lines. The mail itself is not kept."""

    def __init__(self, paths: Sequence[Path], *, by_name: bool = False) -> None:
        """Look through ``paths``. Raises ``UsageError`` for one that is not there.

        ``by_name``: files of a directory come in order of their names, which then are all held.
        """
        self._by_name = by_name
        self.places: list[Place] = []
        self.bytes = 0
        """Of the files with mail, when they were found."""
        self.passed_over: dict[str, str] = {}
        """Files that hold no mail, each with what it is taken for."""
        self.unreadable: dict[str, str] = {}
        """Files and directories whose mail could not be had, each with the reason."""
        self._visited: set[Path] = set()
        for path in paths:
            _must_be_there(path)
        # Directories first: a file that lies in one of them is not taken again.
        for path in sorted((path.resolve() for path in paths), key=lambda path: (not path.is_dir(), path)):
            if path.is_dir():
                self._directory(path, (), path)
            elif path.parent not in self._visited and self._single(path, None, path.parent):
                self._add(path, Form.EML, "", path.parent)
        self.places.sort(key=lambda place: place.path)

    def messages(self, place: Place) -> Iterator[tuple[Where, Letter]]:
        """The messages of a place, one at a time. A file that cannot be read is noted and passed over."""
        for path, form in self._files(place):
            try:
                if form is Form.MBOX:
                    yield from _mbox_messages(path)
                else:
                    where = Where(path, form)
                    yield where, read_letter(where)
            except (OSError, NotReadError) as error:
                self.note(path, error)

    def note(self, path: Path, error: OSError | NotReadError) -> str:
        """Keep in ``unreadable`` what is wrong with a file or directory, and return it."""
        if isinstance(error, OSError):
            reason = (error.strerror or type(error).__name__).lower()
        else:
            reason = str(error)
        self.unreadable[readable(path)] = reason
        return reason

    def _files(self, place: Place) -> Iterator[tuple[Path, Form]]:
        if place.form is Form.MAILDIR:
            yield from ((Path(entry.path), Form.MAILDIR) for entry in self._delivered(place.path))
        elif place.path.is_dir():
            for entry in self._entries(place.path):
                form = self._form(Path(entry.path)) if entry.is_file() else None
                if form and form is not Form.MBOX:
                    yield Path(entry.path), form
        elif form := self._form(place.path):
            yield place.path, form

    def _directory(self, directory: Path, levels: tuple[str, ...], root: Path) -> None:
        if directory in self._visited:
            return
        self._visited.add(directory)
        below: list[str] = []
        singles = 0
        for entry in self._entries(directory):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            elif entry.is_file():
                singles += self._single(path, levels, root)
            else:
                linked = entry.is_dir()
                self.passed_over[readable(path)] = (
                    "a linked directory: name it itself" if linked else "no file"
                )
        if singles:
            self._add(directory, Form.EML, folder_path(levels), root)
        if "cur" in below:
            self.bytes += sum(_size(Path(entry.path)) for entry in self._delivered(directory))
            folder = folder_path(levels, encoded=True)
            self._add(directory, Form.MAILDIR, folder, root, _maildir_name(directory, below))
            below = [name for name in below if name not in _MAILDIR]
        for name in sorted(below):
            self._directory(directory / name, (*levels, name), root)

    def _single(self, path: Path, levels: tuple[str, ...] | None, root: Path) -> bool:
        """Whether the file is a single message; an mbox becomes a place.

        ``levels``: None for a file that was asked for by name.
        """
        form = self._form(path)
        if form is None:
            return False
        self.bytes += _size(path)
        if form is Form.MBOX:
            folder = "" if levels is None else folder_path(levels, path.name)
            self._add(path, form, folder, root, folder_path((), path.name))
        return form is not Form.MBOX

    def _add(self, path: Path, form: Form, folder: str, root: Path, own_name: str = "") -> None:
        own_name = own_name or folder_path((root.name,)) or "Inbox"
        self.places.append(Place(path, form, folder, own_name, root))

    def _form(self, path: Path) -> Form | None:
        """How a file holds mail; None, and noted, where it does not or does not let itself be read."""
        try:
            form = form_of(path)
        except (OSError, NotReadError) as error:
            self.note(path, error)
            return None
        if isinstance(form, Form):
            return form
        self.passed_over[readable(path)] = form
        return None

    def _entries(self, directory: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                yield from sorted(entries, key=lambda entry: entry.name) if self._by_name else entries
        except OSError as error:
            self.note(directory, error)

    def _delivered(self, maildir: Path) -> Iterator[os.DirEntry[str]]:
        """The files of a Maildir that are messages."""
        for part in ("cur", "new"):
            if (maildir / part).is_dir():
                yield from (entry for entry in self._entries(maildir / part) if entry.is_file())


def read_mail(path: Path) -> Iterator[tuple[str, Letter]]:
    """Every message at ``path`` with its folder below it; the folder is empty at ``path`` itself.

    The order is the same on every computer. Raises ``UsageError`` where it is not there, or some of
    its mail cannot be read.
    """
    files = MailFiles([path], by_name=True)
    for place in files.places:
        yield from ((place.folder, letter) for _, letter in files.messages(place))
    if files.unreadable:
        raise UsageError(
            "; ".join(f"{unreadable}: {reason}" for unreadable, reason in files.unreadable.items())
        )


def _mbox_messages(path: Path) -> Iterator[tuple[Where, Letter]]:
    with path.open("rb") as file:
        for span in spans(file):
            yield Where(path, Form.MBOX, *span), mbox_letter(*read_message(file, span))


def _maildir_name(directory: Path, below: Sequence[str]) -> str:
    """Inbox for a mailbox's own Maildir, in which the other folders lie; else what it is called."""
    others = (name for name in below if name.startswith(".") and (directory / name / "cur").is_dir())
    if directory.name.lower() in _MAILBOX or any(others):
        return "Inbox"
    return folder_path((directory.name,), encoded=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # gone since it was listed: said when it is to be read


def _must_be_there(path: Path) -> None:
    try:
        path.stat()
    except OSError as error:
        problem = (
            "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        )
        raise UsageError(
            f"{path} {problem}", remedy="name an mbox or .eml file, a Maildir, or a folder of these"
        ) from None
