"""The folders of a mailbox from LIST: paths, roles, and those that hold no mail."""

from collections.abc import Iterable

from imapclient import imap_utf7

from pipelines.sources.base import Folder, Role
from pipelines.sources.imap_names import ENGLISH, language_of
from pipelines.sources.imap_wire import ListLine

_SPECIAL_USE = {
    "\\sent": Role.SENT,
    "\\drafts": Role.DRAFTS,
    "\\trash": Role.TRASH,
    "\\junk": Role.JUNK,
    "\\archive": Role.ARCHIVE,
}
"""RFC 6154. Exchange sends some of them without advertising SPECIAL-USE."""
_NOT_SELECTABLE = {"\\noselect", "\\nonexistent"}


def read_folders(lines: Iterable[ListLine]) -> list[Folder]:
    """Every folder that LIST names, the Inbox first, then in order of their paths."""
    paths: dict[str, tuple[str, set[str]]] = {}
    seen = set[str]()
    for attributes, delimiter, name in lines:
        wire = name.decode("latin-1") if isinstance(name, bytes) else name
        path = _path(wire, delimiter)
        if path not in seen:
            seen.add(path)
            paths[wire] = path, {each.decode("ascii", "replace").lower() for each in attributes}
    top_level = [path for path, _attributes in paths.values() if "/" not in path]
    language = language_of(top_level)
    taken = {
        _SPECIAL_USE[each]
        for _path, attributes in paths.values()
        for each in attributes & _SPECIAL_USE.keys()
    }
    by_name = {name: role for name, role in (language or ENGLISH).roles.items() if role not in taken}
    non_mail = language.non_mail if language else frozenset[str]()
    folders = [
        Folder(path, _role(path, attributes, by_name), wire, _skipped(wire, path, attributes, non_mail))
        for wire, (path, attributes) in paths.items()
    ]
    return sorted(folders, key=lambda folder: (folder.role is not Role.INBOX, folder.path))


def _path(wire: str, delimiter: bytes | None) -> str:
    try:
        path = str(imap_utf7.decode(wire.encode("latin-1")))
    except ValueError:
        path = wire
    if delimiter:
        path = path.replace(delimiter.decode("ascii", "replace"), "/")
    first, slash, rest = path.partition("/")
    return f"Inbox{slash}{rest}" if first.upper() == "INBOX" else path


def _role(path: str, attributes: set[str], by_name: dict[str, Role]) -> Role:
    if path == "Inbox":
        return Role.INBOX
    for attribute in sorted(attributes & _SPECIAL_USE.keys()):
        return _SPECIAL_USE[attribute]
    return by_name.get(path.casefold(), Role.OTHER)


def _skipped(wire: str, path: str, attributes: set[str], non_mail: frozenset[str]) -> str | None:
    if attributes & _NOT_SELECTABLE:
        return "holds no messages, only folders"
    if path.partition("/")[0].casefold() in non_mail:
        return "non-mail"
    if not wire.isascii():
        return "its name is not modified UTF-7 and cannot be asked for"
    return None
