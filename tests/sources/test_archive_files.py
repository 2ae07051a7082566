"""Trees of mail files: which are mail, to which folders they belong, and what cannot be read."""

import csv
import mailbox
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.sources.archive_files import MailFiles, read_mail
from pipelines.sources.archive_letters import Letter
from pipelines.sources.archive_names import folder_path

ONE = b"Subject: One\n\nFirst line\nFrom the start\n"
TWO = b"Subject: Two\n\nNo end"
SEPARATOR = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"
DATE = datetime(2025, 3, 1, 9, tzinfo=UTC)
BOX = SEPARATOR + ONE.replace(b"From", b">From") + b"\n"
UUID = "1A2B3C4D-0000-4000-8000-1A2B3C4D5E6F"


def put(path: Path, content: bytes) -> None:
    """A file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def found(files: MailFiles) -> set[tuple[str, bytes, tuple[str, ...]]]:
    """Folder, bytes and flags of every message."""
    return {
        (place.folder or place.own_name, letter.mime, letter.flags)
        for place in files.places
        for _, letter in files.messages(place)
    }


def folders(*paths: Path) -> set[str]:
    return {folder for folder, _, _ in found(MailFiles(paths))}


def test_a_tree_keeps_its_folders_and_what_is_no_mail_is_named(tmp_path: Path) -> None:
    root = tmp_path / "export"
    put(root / "2024" / "May" / "a.eml", ONE)
    put(root / "2024" / "Lists.mbox", BOX)
    put(root / "2024" / "May" / "17", TWO)
    put(root / "b.EML", TWO)
    put(root / ".hidden", ONE)
    others = {
        "MANIFEST.tsv": b"path\tbytes: all of them\n",
        "settings.yaml": b"tenant: contoso\nid: 1\n",
        "photo.jpg": b"\xff\xd8:\x00",
        "2024/May/._a.eml": b"\x00\x05\x16\x07Mac",
        "empty.eml": b"",
        "more.zip": b"PK\x03\x04",
        "note.txt": b"From Monday on we meet.\nBring cake.\n",
    }
    for name, content in others.items():
        put(root / name, content)
    files = MailFiles([root])
    assert found(files) == {
        ("2024/May", ONE, ()),
        ("2024/Lists", ONE, ()),
        ("2024/May", TWO, ()),
        ("export", TWO, ()),
        ("export", ONE, ()),
    }
    assert files.unreadable == {}
    assert files.passed_over.keys() == {str(root / name) for name in others}
    assert files.passed_over[str(root / "empty.eml")] == "empty"
    assert files.passed_over[str(root / "more.zip")] == "packed: unpack it first"
    assert files.bytes == sum(map(len, (ONE, BOX, TWO, TWO, ONE)))


def test_a_file_that_is_asked_for_is_named_by_itself_or_by_where_it_lies(tmp_path: Path) -> None:
    put(tmp_path / "export" / "Invoices 2019.mbox", BOX)
    put(tmp_path / "export" / "a.eml", ONE)
    put(tmp_path / "export" / "mbox", BOX)
    export = tmp_path / "export"
    assert folders(export / "Invoices 2019.mbox") == {"Invoices 2019"}
    assert folders(export / "a.eml") == {"export"}
    assert folders(export / "mbox") == {"export"}
    assert folders(export) == {"export", "Invoices 2019"}


def test_what_is_asked_for_twice_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "one.eml", ONE)
    put(tmp_path / "a" / "box", BOX)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    asked = [tmp_path / "a" / "box", tmp_path / "link", tmp_path / "a" / "b", tmp_path / "a"]
    for paths in (asked, asked[::-1]):
        files = MailFiles(paths)
        assert len([letter for place in files.places for letter in files.messages(place)]) == 2


def test_linked_directories_are_not_followed_but_named(tmp_path: Path) -> None:
    put(tmp_path / "a" / "one.eml", ONE)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "two.eml").symlink_to(tmp_path / "a" / "one.eml")
    (tmp_path / "a" / "lost.eml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "a" / "pipe.eml")
    files = MailFiles([tmp_path / "a"])
    assert len(list(files.messages(files.places[0]))) == 2
    assert files.passed_over == {
        str(tmp_path / "a" / "again"): "a linked directory: name it itself",
        str(tmp_path / "a" / "lost.eml"): "no file",
        str(tmp_path / "a" / "pipe.eml"): "no file",
    }


def test_a_maildir_gives_folders_and_flags(tmp_path: Path) -> None:
    for place in ("cur", "new", "tmp", ".Projects.K&APY-ln/cur", "Plain/cur", "M&APw-ll/cur"):
        (tmp_path / place).mkdir(parents=True)
    put(tmp_path / "cur" / "1.host:2,FS", ONE)
    put(tmp_path / "cur" / "2.host;2,DRT", ONE)
    put(tmp_path / "new" / "3.host", TWO)
    put(tmp_path / "tmp" / "4.host", b"Half: written\n")
    put(tmp_path / ".Projects.K&APY-ln" / "cur" / "5.host,S=40:2,", ONE)
    put(tmp_path / "Plain" / "cur" / "6.host:2,Ra", b"no header at all")
    put(tmp_path / "M&APw-ll" / "cur" / "7.host:2,S", ONE)
    put(tmp_path / "new" / "8.host", b"X-Mozilla-Status: 0001\n" + ONE)
    assert found(MailFiles([tmp_path])) == {
        ("Inbox", b"X-Mozilla-Status: 0001\n" + ONE, ("seen",)),
        ("Inbox", ONE, ("flagged", "seen")),
        ("Inbox", ONE, ("draft", "answered", "deleted")),
        ("Inbox", TWO, ()),
        ("Projects/Köln", ONE, ()),
        ("Plain", b"no header at all", ("answered",)),
        ("Müll", ONE, ("seen",)),
    }


def test_a_maildir_that_is_asked_for_is_the_inbox_only_if_it_is_a_mailboxs_own(tmp_path: Path) -> None:
    for name in ("Maildir", "kim", "kim/.Sent", "Projects", "M&APw-ll"):
        put(tmp_path / name / "cur" / "1:2,", ONE)
    assert folders(tmp_path / "Maildir") == {"Inbox"}
    assert folders(tmp_path / "kim") == {"Inbox", "Sent"}
    assert folders(tmp_path / "kim" / ".Sent") == {"Sent"}
    assert folders(tmp_path / "Projects") == {"Projects"}
    assert folders(tmp_path / "M&APw-ll") == {"Müll"}


def test_a_maildir_of_the_standard_library(tmp_path: Path) -> None:
    maildir = mailbox.Maildir(tmp_path / "mail")
    message = mailbox.MaildirMessage(ONE)
    message.set_subdir("cur")
    message.set_flags("SF")
    maildir.add(message)
    maildir.add_folder("Projects.2024").add(TWO + b"\n")
    assert found(MailFiles([tmp_path / "mail"])) == {
        ("Inbox", ONE, ("flagged", "seen")),
        ("Projects/2024", TWO + b"\n", ()),
    }


def test_folders_of_thunderbird(tmp_path: Path) -> None:
    root = tmp_path / "Local Folders"
    state = b"X-Mozilla-Status: 0005\nX-Mozilla-Status2: 00000000\n"
    put(root / "Inbox", b"From - Sat Mar 01 09:00:00 2025\n" + state + ONE + b"\n")
    put(root / "Inbox.msf", b'// <!-- <mdb:mork:z v="1.4"/> -->\n')
    put(root / "Inbox.sbd" / "Projects", BOX)
    put(root / "Inbox.sbd" / "Projects.sbd" / "Köln.old", BOX)
    put(root / "Trash", b"")
    assert found(MailFiles([root])) == {
        ("Inbox", state + ONE, ("seen", "flagged")),
        ("Inbox/Projects", ONE, ()),
        ("Inbox/Projects/Köln.old", ONE, ()),
    }


def emlx(mime: bytes, flags: int, *, length: int | None = None) -> bytes:
    return (
        b"%-10d\n" % (len(mime) if length is None else length)
        + mime
        + b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
        b'"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0"><dict>\n'
        b"<key>date-received</key><integer>1740819600</integer>\n"
        b"<key>flags</key><integer>%d</integer></dict></plist>\n" % flags
    )


def test_folders_of_apple_mail(tmp_path: Path) -> None:
    root = tmp_path / "V10"
    account = root / UUID
    put(account / "INBOX.mbox" / UUID / "Data" / "Messages" / "1.emlx", emlx(ONE, 8590195713))
    put(account / "INBOX.mbox" / UUID / "Data" / "3" / "Messages" / "2.emlx", emlx(TWO, 0b1010110))
    put(account / "Work.mbox" / "Köln.mbox" / UUID / "Data" / "Messages" / "3.emlx", emlx(ONE, 0))
    put(account / "Old.mbox" / "Messages" / "4.emlx", emlx(ONE, 0)[: -len("</dict></plist>\n")])
    assert found(MailFiles([account])) == {
        ("Inbox", ONE, ("seen",)),
        ("Inbox", TWO, ("deleted", "answered", "flagged", "draft")),
        ("Work/Köln", ONE, ()),
        ("Old", ONE, ()),
    }
    assert folders(root) == {f"{UUID}/{name}" for name in ("INBOX", "Work/Köln", "Old")}
    assert folders(account / "INBOX.mbox") == {"Inbox"}


def test_mail_that_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    put(tmp_path / "1.emlx", emlx(ONE, 0))
    put(tmp_path / "2.partial.emlx", emlx(ONE, 0))
    put(tmp_path / "3.emlx", emlx(ONE, 0, length=10_000))
    put(tmp_path / "4.emlx", b"Subject: no length\n\nText\n")
    put(tmp_path / "Outlook.pst", b"!BDN")
    put(tmp_path / "a.msg", b"\xd0\xcf\x11\xe0")
    put(tmp_path / "inbox", b"\x01\x01\x01\x01\nSubject: One\n\nText\n\x01\x01\x01\x01\n")
    files = MailFiles([tmp_path])
    assert found(files) == {(tmp_path.name, ONE, ())}
    damaged = "not whole: it does not hold as many bytes as its first line says"
    told = {Path(path).name: reason for path, reason in files.unreadable.items()}
    assert told["2.partial.emlx"].startswith("Apple Mail keeps its attachments in other files")
    assert (told["3.emlx"], told["4.emlx"]) == (damaged, damaged)
    assert told["Outlook.pst"] == "an Outlook data file: convert it, with readpst for instance"
    assert told["a.msg"] == "an Outlook message: save it as .eml"
    assert told["inbox"] == "a mailbox in MMDF form: convert it to mbox"
    assert len(told) == 6


def test_folders_exported_by_apple_mail_readpst_and_kmail(tmp_path: Path) -> None:
    put(tmp_path / "apple" / "Work.mbox" / "mbox", BOX)
    put(tmp_path / "apple" / "Work.mbox" / "table_of_contents", b"\x00\x01")
    put(tmp_path / "pst" / "Personal Folders" / "Inbox" / "mbox", BOX)
    put(tmp_path / "pst" / "Personal Folders" / "Sent Items" / "1", ONE)
    put(tmp_path / "kmail" / "inbox", BOX)
    put(tmp_path / "kmail" / ".inbox.directory" / "Köln", BOX)
    assert folders(tmp_path / "apple") == {"Work"}
    assert folders(tmp_path / "apple" / "Work.mbox") == {"Work"}
    assert folders(tmp_path / "pst") == {"Personal Folders/Inbox", "Personal Folders/Sent Items"}
    assert folders(tmp_path / "pst" / "Personal Folders") == {"Inbox", "Sent Items"}
    assert folders(tmp_path / "kmail") == {"Inbox", "Inbox/Köln"}


@pytest.mark.parametrize(
    ("levels", "mbox", "path"),
    [
        (("R&D",), None, "R&D"),
        ((".R&D.x",), None, "R&D/x"),
        (("a",), "2001-November.txt", "a/2001-November"),
        (("a",), "v1.2", "a/v1.2"),
        ((), "MBOX", ""),
        ((".INBOX.Sent",), None, "Inbox/Sent"),
        (("Ko\u0308ln",), None, "Köln"),
        (("b\udcff",), None, "b\ufffd"),
        (("Messages",), None, "Messages"),
        (("INBOX.imapmbox", "Messages"), None, "Inbox"),
        (("exports.mbox",), "Inbox", "exports/Inbox"),
    ],
)
def test_names_become_paths(levels: tuple[str, ...], mbox: str | None, path: str) -> None:
    assert folder_path(levels, mbox) == path


@pytest.fixture
def locked() -> Iterator[Path]:
    """A directory of which not everything may be read, not even where root runs the tests."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    put(root / "open.eml", ONE)
    put(root / "closed.eml", TWO)
    put(root / "closed box", BOX)
    put(root / "closed" / "a.eml", TWO)
    for each in (root / "closed.eml", root / "closed box", root / "closed"):
        each.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield root
    os.seteuid(user)
    (root / "closed").chmod(0o700)
    shutil.rmtree(root)


def test_failure_is_contained_what_may_not_be_read_is_named(locked: Path) -> None:
    files = MailFiles([locked])
    assert {mime for _, mime, _ in found(files)} == {ONE}
    names = {"closed.eml", "closed box", "closed"}
    assert files.unreadable == {str(locked / name): "permission denied" for name in names}
    with pytest.raises(UsageError, match="permission denied"):
        list(read_mail(locked))


def test_failure_is_contained_a_file_that_vanishes_meanwhile_is_named(tmp_path: Path) -> None:
    for name in ("a.mbox", "b.mbox"):
        put(tmp_path / name, BOX)
    files = MailFiles([tmp_path])
    (tmp_path / "a.mbox").unlink()
    assert {folder for folder, _, _ in found(files)} == {"b"}
    assert files.unreadable == {str(tmp_path / "a.mbox"): "no such file or directory"}


def test_names_in_any_bytes_can_be_told(tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(directory)  # noqa: PTH102 - pathlib takes no bytes
    put(Path(os.fsdecode(directory)) / "a.eml", ONE)
    put(Path(os.fsdecode(directory)) / "b.txt", b"no mail\n")
    files = MailFiles([tmp_path])
    assert found(files) == {("caf\ufffd", ONE, ())}
    (passed_over,) = files.passed_over
    assert passed_over.encode() == os.fsencode(tmp_path) + b"/caf\xef\xbf\xbd/b.txt"


def test_bad_input_gets_a_clear_error_from_mail_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing is not there\n.*name an mbox"):
        MailFiles([tmp_path, tmp_path / "nothing"])
    put(tmp_path / "file", ONE)
    with pytest.raises(UsageError, match="cannot be read: Not a directory"):
        MailFiles([tmp_path / "file" / "below"])


def test_read_mail_tells_folders_below_the_path_only(tmp_path: Path) -> None:
    put(tmp_path / "a.mbox", BOX)
    put(tmp_path / "b" / "1.eml", TWO)
    assert [folder for folder, _ in read_mail(tmp_path / "a.mbox")] == [""]
    assert list(read_mail(tmp_path / "b")) == [("", Letter(TWO))]
    for number in (9, 5, 7):
        put(tmp_path / "b" / f"{number}.eml", b"Subject: %d\n\n" % number)
    numbered = [Letter(b"Subject: %d\n\n" % number) for number in (5, 7, 9)]
    assert list(read_mail(tmp_path)) == [("a", Letter(ONE, dated=DATE)), ("b", Letter(TWO))] + [
        ("b", letter) for letter in numbered
    ]


COUNTED_OTHERWISE = {
    # The manifest counts lines that begin with From: some are text, some are damaged.
    "exim/0100.userx.mbox": 9,
    "exim/0101.userx.mbox": 9,
    "kmime/simple-encapsulated.mbox": 2,
    "patchwork/fuzz_codec-null.mbox": 1,
    "patchwork/fuzz_name-len.mbox": 1,
    "r-lists/r-package-devel_2025q1.txt.mbox": 194,
}


@pytest.mark.corpus
def test_nothing_lost_of_real_mail_files(corpus_dir: Path) -> None:
    with (corpus_dir / "MANIFEST.tsv").open(newline="", encoding="utf-8") as lines:
        told = {row["path"]: int(row["messages"] or 0) for row in csv.DictReader(lines, delimiter="\t")}
    files = MailFiles([corpus_dir])
    assert files.unreadable == {}
    counted: Counter[str] = Counter()
    for place in files.places:
        for where, letter in files.messages(place):
            counted[str(where.path.relative_to(corpus_dir.resolve()))] += 1
            if where.path.suffix == ".eml":
                assert letter.mime == where.path.read_bytes()
    expected = {path: count for path, count in (told | COUNTED_OTHERWISE).items() if count}
    assert counted == expected
