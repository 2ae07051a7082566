"""One file of a local folder in place of others: shown and taken away in one step where the system can.

A folder with the new file and links to all that stays is made aside, and the two folders
trade names (renameat2(2) with RENAME_EXCHANGE: Linux, on ext4, XFS, Btrfs, tmpfs and
others). Who lists the folder sees it before or after that, and nothing in between.
"""

import ctypes
import os
import shutil
from collections.abc import Collection
from pathlib import Path

_HERE = -100
"""AT_FDCWD: paths are taken as they are."""
_EXCHANGE = 2


def show_instead(new: Path, staged: Path, old: Collection[Path], aside: Path) -> None:
    """Let the file at ``staged`` stand at ``new``, and those at ``old``, of the same folder, be gone.

    Repeatable after a crash at any point. ``aside``: where the other folder may be made; gone afterwards.
    """
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _fill(aside, new, staged, old)
        exchange(aside, new.parent)
    except OSError:
        # The new file first: for a moment its rows stand twice, which a crash must not make a loss.
        staged.replace(new)
        sync(new.parent)
        for each in old:
            each.unlink(missing_ok=True)
    sync(new.parent.parent)
    shutil.rmtree(aside, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Let two folders trade names in one step. Raises ``OSError`` where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError("this system cannot exchange folders")
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one))


def sync(folder: Path) -> None:
    """Make names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(aside: Path, new: Path, staged: Path, old: Collection[Path]) -> None:
    make_private(aside)
    for each in new.parent.iterdir():
        if each not in old:
            (aside / (new.name if each == staged else each.name)).hardlink_to(each)
    sync(aside)


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, for their owner only."""
    # mkdir(parents=True) gives its mode to the last folder only.
    for each in reversed([folder, *folder.parents]):
        each.mkdir(mode=0o700, exist_ok=True)
