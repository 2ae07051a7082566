"""Mail in files: mboxes, Maildirs, trees of .eml, as one more source.

An archive tells nothing of what was imported before, and grows, moves and is split as its owner
likes. So a message is known by its content: the same file read again, from elsewhere, or with
mail added, shows the same ids. A folder holds whatever any archive had in a folder of that path;
an import only ever adds to it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipelines.clock import Clock
from pipelines.errors import UsageError
from pipelines.sources.archive_files import MailFiles, Place
from pipelines.sources.archive_headers import content_digest, received_at
from pipelines.sources.archive_letters import Letter, NotReadError, Where, read_letter
from pipelines.sources.archive_listed import Listed
from pipelines.sources.archive_names import readable
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, ProtocolName, Role
from pipelines.sources.imap_names import ENGLISH, language_of

_PAGE = 500
_CURSOR = "listed"
"""There is no position to go on from: an import lists all of its files."""
_REMEDY = "name an mbox or .eml file, a Maildir, or a folder of these"
_NAMES = {"sent": Role.SENT, "trash": Role.TRASH, "junk": Role.JUNK}
"""As Thunderbird, Dovecot and mutt call them; Exchange's own names are those of IMAP."""


class ArchiveSource:
    """See ``pipelines.sources.base.Source``. Every path is looked through when it is made."""

    protocol = ProtocolName.ARCHIVE
    ids_follow_moves = False

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        """Raises ``UsageError`` where one of ``paths`` is not there, or none holds mail."""
        self.files = MailFiles(paths)
        self.files_read = 0
        self.bytes_read = 0
        self._clock = clock
        self._listed = Listed()
        self._walked: set[str] = set()
        self._places: dict[str, list[Place]] = {}
        for place in self.files.places:
            self._places.setdefault(place.folder or place.own_name, []).append(place)
        if not self._places:
            raise UsageError(_no_mail(paths, self.files), remedy=_REMEDY)

    def folders(self) -> list[Folder]:
        """The folders in which the files lie, in order of their paths."""
        top_level = {path.partition("/")[0] for path in self._places}
        roles = _NAMES | (language_of(top_level) or ENGLISH).roles | {"inbox": Role.INBOX}
        return [Folder(path, roles.get(path.casefold(), Role.OTHER), path) for path in sorted(self._places)]

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page]:  # noqa: ARG002
        """Every message of the folder's files, whatever the cursor."""
        self._walked.discard(folder.path)
        self._listed.drop(folder.path)
        entries: list[Entry] = []
        for place in self._places[folder.path]:
            for where, letter in self._read(place):
                digest = content_digest(letter.mime)
                native_id = self._listed.add(folder.path, place.root, digest, where)
                entries.append(Entry(native_id, len(letter.mime), flags=letter.flags))
                if len(entries) == _PAGE:
                    yield Page(entries, _CURSOR)
                    entries = []
        yield Page(entries, _CURSOR)
        self._walked.add(folder.path)

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:  # noqa: ARG002
        """Raises ``UsageError``: files have to be read to know of when their mail is."""
        raise UsageError(
            "an archive has no windows of time", remedy="import it whole: what is known is skipped"
        )

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:  # noqa: ARG002
        """The entries as they are: here reading a message costs no more, and its bytes say what it is."""
        return entries

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        """The messages, read again from where they were found."""
        for entry in entries:
            where = self._listed.where(folder.path, entry.native_id)
            if where is None:
                yield FetchFailed(entry, "not-in-files", "not in the files of this import")
            else:
                yield self._fetch(folder, entry, where)

    def native_ids(self, folder: Folder) -> set[str]:
        """Every id of the folder."""
        return {native_id for page in self.id_pages(folder) for native_id in page}

    def count(self, folder: Folder) -> int:
        """How many messages the files hold for the folder; copies in several archives count once."""
        return sum(map(len, self.id_pages(folder)))

    def id_pages(self, folder: Folder) -> Iterator[list[str]]:
        """The ids of the folder in pages, as it was last walked, and walked if it was not."""
        if folder.path not in self._walked:
            for _ in self.changes(folder, None):
                pass
        return self._listed.ids(folder.path)

    def close(self) -> None:
        """Give temporary files back."""
        self._listed.close()

    def _read(self, place: Place) -> Iterator[tuple[Where, Letter]]:
        last = None
        for where, letter in self.files.messages(place):
            self.files_read += where.path != last
            self.bytes_read += where.end - where.at or len(letter.mime)
            last = where.path
            yield where, letter

    def _fetch(self, folder: Folder, entry: Entry, where: Where) -> Fetched | FetchFailed:
        try:
            letter = read_letter(where)
        except (OSError, NotReadError) as error:
            return self._failed(folder, entry, where, error, gone=isinstance(error, FileNotFoundError))
        if content_digest(letter.mime) != entry.native_id.partition(":")[0]:
            changed = NotReadError("changed while it was imported: import it again")
            return self._failed(folder, entry, where, changed, gone=True)
        received = received_at(letter.mime, letter.dated, self._clock.now()) or _written(where.path)
        return Fetched(
            replace(entry, received_at=received, received_by_server=False, flags=letter.flags), letter.mime
        )

    def _failed(
        self, folder: Folder, entry: Entry, where: Where, error: OSError | NotReadError, *, gone: bool
    ) -> FetchFailed:
        if gone:
            self._listed.drop(folder.path, entry.native_id)
        return FetchFailed(entry, "unreadable", self.files.note(where.path, error), gone)


def _written(file: Path) -> datetime | None:
    """When the file was last written: its mail is no younger."""
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None


def _no_mail(paths: Sequence[Path], files: MailFiles) -> str:
    found = [f"{path}: {why}" for path, why in [*files.unreadable.items(), *files.passed_over.items()]]
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    said = f" ({'; '.join(found[:3])}{more})" if found else ""
    return f"no mail in {', '.join(map(readable, paths[:3]))}{' …' if len(paths) > 3 else ''}{said}"
