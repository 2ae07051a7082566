"""Folder paths from the names that mail programs give to files and directories."""

import os
import re
import unicodedata
from binascii import Error as Base64Error
from collections.abc import Sequence
from pathlib import Path

from imapclient import imap_utf7

_MBOX = re.compile(r"\.(mbox|mboxo|mboxrd|mboxcl2?|mbx|mbs|txt)$", re.IGNORECASE)
_DIRECTORY = re.compile(r"\.(sbd|(imap)?mbox)$", re.IGNORECASE)
"""What Thunderbird and Apple Mail add to the name of a folder for the directory below it."""
_APPLE = re.compile(r"((^|/)[0-9A-F-]{36}/Data(/\d)*|(?<=mbox))/Messages$")
"""Between a folder and its messages: ``<UUID>/Data/1/Messages``, before 2007 only ``Messages``."""


def folder_path(directories: Sequence[str], mbox: str | None = None, *, encoded: bool = False) -> str:
    """The path of the folder that lies in ``directories`` below the root: an ``mbox`` file, else a directory.

    Empty for the root itself, and for a file there that is called just ``mbox``. ``encoded``: names
    may be in modified UTF-7, as IMAP servers and programs write Maildirs.
    """
    levels = _APPLE.sub("", "/".join(directories)).split("/")
    if mbox is not None and mbox.lower() != "mbox":
        levels.append(_MBOX.sub("", mbox))
    path = "/".join(filter(None, (part for level in levels for part in _parts(level, encoded=encoded))))
    first, slash, below = path.partition("/")
    return f"Inbox{slash}{below}" if first.lower() == "inbox" else path


def readable(name: str | Path) -> str:
    """A file name as text that can be stored and printed, whatever bytes it is made of."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _parts(level: str, *, encoded: bool) -> list[str]:
    """What one name says: a level, or several in Maildir++ (``.Projects.2024``)."""
    name = readable(level)
    if name.startswith(".") and name.endswith(".directory"):
        return [name[1 : -len(".directory")]]  # KMail
    if name.startswith("."):
        return [_decoded(part) for part in name[1:].split(".")]
    return [_DIRECTORY.sub("", _decoded(name) if encoded else name)]


def _decoded(name: str) -> str:
    """Modified UTF-7 (RFC 3501, 5.1.3) as text; the name itself where it is not that."""
    try:
        return str(imap_utf7.decode(name.encode()))
    except (Base64Error, UnicodeError):
        return name
