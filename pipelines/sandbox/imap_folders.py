"""Folders in IMAP's words: names in modified UTF-7, LIST and STATUS lines.

As on Exchange every visible folder is listed, calendars and contacts included, and nothing
tells their class; a few roles show as attributes without SPECIAL-USE being advertised.
"""

from imapclient.imap_utf7 import decode, encode
from twisted.mail.imap4 import IllegalClientResponse, wildcardToRegexp

from pipelines.sandbox.faults import Door
from pipelines.sandbox.store import Folder, Store

_ATTRIBUTES = {"sent": " \\Sent", "drafts": " \\Drafts", "trash": " \\Trash", "junk": " \\Junk"}
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&+,-./_=")


def visible_folders(store: Store, address: str) -> list[Folder]:
    """The folders that IMAP shows: neither hidden nor search folders."""
    folders = store.snapshot(lambda: list(store.mailbox(address).folders.values()))
    return sorted(
        (each for each in folders if not each.hidden and not each.search), key=lambda each: each.path
    )


def imap_name(path: str) -> bytes:
    """A folder's name on the wire, quoted where it has to be."""
    first, slash, rest = path.partition("/")
    name = bytes(encode(("INBOX" if first == "Inbox" else first) + slash + rest))
    if name and _PLAIN.issuperset(name):
        return name
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def stored_path(name: bytes) -> str:
    """The path that a client's name means; ``INBOX`` in any case is the Inbox."""
    try:
        path = str(decode(name))
    except (UnicodeError, ValueError):
        raise IllegalClientResponse("bad folder name") from None
    first, slash, rest = path.partition("/")
    return ("Inbox" if first.upper() == "INBOX" else first) + slash + rest


def list_lines(store: Store, address: str, pattern: bytes, command: str) -> list[bytes]:
    """The LIST or LSUB lines of the folders that match ``pattern``."""
    wanted = wildcardToRegexp(stored_path(pattern), "/")
    folders = visible_folders(store, address)
    parents = {each.path.rpartition("/")[0] for each in folders}
    lines = []
    for each in folders:
        if wanted.fullmatch(each.path):
            children = "\\HasChildren" if each.path in parents else "\\HasNoChildren"
            attributes = children + _ATTRIBUTES.get(each.role, "")
            lines.append(b'* %s (%s) "/" %s' % (command.encode(), attributes.encode(), imap_name(each.path)))
    return lines


def status_line(store: Store, address: str, path: str, items: list[bytes]) -> bytes:
    """The STATUS line; items come in the server's order. Raises ``IllegalClientResponse``."""
    folder = store.folder(address, path)
    messages = store.listing(address, path, Door.IMAP)
    known = {
        b"MESSAGES": len(messages),
        b"RECENT": 0,
        b"UIDNEXT": folder.uid_next,
        b"UIDVALIDITY": folder.uidvalidity,
        b"UNSEEN": sum("seen" not in each.flags for each in messages),
    }
    asked = {each.upper() for each in items}
    if not asked or not asked <= known.keys():
        raise IllegalClientResponse("unknown status item")
    told = b" ".join(b"%s %d" % (item, value) for item, value in known.items() if item in asked)
    return b"* STATUS %s (%s)" % (imap_name(path), told)
