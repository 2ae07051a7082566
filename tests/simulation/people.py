"""What people and the server do to the mailbox: the tenant's half of a history."""

from collections.abc import Callable
from datetime import timedelta

from pipelines.sandbox import store as tenant
from pipelines.sources.base import Entry, FetchFailed, ProtocolName
from tests.ingest.model import KIM, START
from tests.simulation.history import Act
from tests.tenant_model import TenantModel

GRAPH = ProtocolName.GRAPH
STANDARD = ("Inbox", "Drafts", "Projects")
_MADE = ("Archive", "Archive/2025", "Clients", "Projects/Deep")
_TO_INBOX = (0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 3, 4)
_FAILURES = (
    FetchFailed(Entry("any"), "conversion-failed", "Exchange cannot make MIME of it"),
    FetchFailed(Entry("any"), "empty-answer", "listed, and answered with nothing"),
    FetchFailed(Entry("any"), "placeholder", "a mail about the mail", fallback=b"Subject: sorry\r\n\r\n"),
)


class People:
    """Acts of the tenant by their names; each says in a few words what it did."""

    def __init__(self, model: TenantModel, legacy: ProtocolName) -> None:
        self.model, self.legacy = model, legacy
        self.letters: dict[str, tuple[int, str]] = {}
        """Letter and kind of each content, by its SHA-256: contents of one letter share all headers."""
        self._texts = 0
        self._letters = 0
        self._acts: dict[str, Callable[[int, int, int], str]] = {
            "deliver": self._deliver,
            "twin": self._twin,
            "again": self._again,
            "edit": self._edit,
            "move": self._move,
            "there_and_back": self._there_and_back,
            "copy": self._copy,
            "delete": self._delete,
            "flag": self._flag,
            "new_folder": self._new_folder,
            "rename_folder": self._rename_folder,
            "delete_folder": self._delete_folder,
            "renumber": self._renumber,
            "forget_delta": self._forget_delta,
            "poison": self._poison,
            "heal": self._heal,
            "hide": self._hide,
            "show": self._show,
            "quirk": self._quirk,
        }

    def can(self, act: Act) -> bool:
        """Whether it is an act of the tenant's."""
        return act.name in self._acts

    def do(self, act: Act) -> str:
        """Do it, and say what was done."""
        first, second, third = (*act.numbers, 0, 0, 0)[:3]
        return self._acts[act.name](first, second, third)

    def messages(self) -> list[tuple[tenant.Folder, tenant.Message]]:
        """Every message and where it lies, in the store's order."""
        return [(folder, message) for folder in self._folders() for message in list(folder.messages.values())]

    def _folders(self) -> list[tenant.Folder]:
        return list(self.model.store.mailbox(KIM).folders.values())

    def _folder(self, number: int) -> tenant.Folder:
        folders = self._folders()
        return folders[_TO_INBOX[number % len(_TO_INBOX)] % len(folders)]

    def _message(self, number: int) -> tuple[tenant.Folder, tenant.Message] | None:
        messages = self.messages()
        return messages[number % len(messages)] if messages else None

    def _mime(self, letter: int, kind: str, padding: int) -> bytes:
        """A new text under the headers of a letter; many texts are of one size."""
        self._texts += 1
        moment = START + timedelta(hours=letter)
        lines = [
            "" if kind == "anonymous" else f"Message-ID: <{letter:03}@contoso.com>",
            "" if kind == "undated" else f"Date: {moment:%a, %d %b %Y %H:%M:%S} +0000",
            "From: Megan Bowen <megan.bowen@contoso.com>",
            f"To: {KIM}",
            f"Subject: Report {letter:03}",
        ]
        text = f"Text {self._texts:04}." + " And so on." * (padding % 3)
        mime = "".join(f"{line}\r\n" for line in lines if line).encode() + f"\r\n{text}\r\n".encode()
        sha256 = tenant._sha256(mime)
        self.letters[sha256] = (letter, kind)
        if padding % 4 == 3:
            # What Exchange makes of it for Graph is not what it makes for the legacy protocols.
            self.model.forms[GRAPH, sha256] = mime.removesuffix(b"\r\n") + b" (converted)\r\n"
        return mime

    def _deliver(self, first: int, second: int, third: int) -> str:
        self._letters += 1
        kind = {9: "anonymous", 10: "undated"}.get(second, "plain")
        return self._arrive(self._folder(first), self._mime(self._letters, kind, third), second)

    def _twin(self, first: int, second: int, third: int) -> str:
        """Another text under the headers of a message that is there, perhaps in the same second."""
        found = self._message(first)
        if found is None:
            return self._deliver(first, second, third)
        letter, kind = self.letters[found[1].sha256]
        moment = found[1].received_at if second % 2 else None
        return self._arrive(self._folder(second), self._mime(letter, kind, third), second, moment)

    def _again(self, first: int, second: int, third: int) -> str:
        """The same mail once more, in the same folder or another."""
        found = self._message(first)
        if found is None:
            return self._deliver(first, second, third)
        folder = found[0] if second % 2 else self._folder(second)
        moment = found[1].received_at if third % 2 else None
        return self._arrive(folder, self.model.store.read(found[1]), 0, moment)

    def _arrive(self, folder: tenant.Folder, mime: bytes, number: int, moment: object = None) -> str:
        received_at = self.model.store._now() - timedelta(seconds=number % 5)
        if moment is not None:
            received_at = moment  # type: ignore[assignment]
        flags = frozenset({"draft"} if folder.role == "drafts" else ())
        message = self.model.store.deliver(KIM, folder.path, mime, received_at, flags)
        if moment is not None:
            # Put there by a program, with another's time of receipt.
            message.modified_at = self.model.store._now()
        return f"{self.name(folder, message)} arrives"

    def _edit(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to edit"
        folder, message = found
        before = self.name(folder, message)
        mime = self._mime(*self.letters[message.sha256], second + third)
        self.model.store.edit(KIM, folder.path, message.uid, mime)
        return f"{before} is edited: {self.name(folder, message)}"

    def _move(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to move"
        folder, message = found
        before, target = self.name(folder, message), self._folder(second + 6)
        self.model.store.move(KIM, folder.path, message.uid, target.path)
        return f"{before} moves: {self.name(target, message)}"

    def _there_and_back(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to move"
        folder, message = found
        before, over = self.name(folder, message), self._folder(second + 6)
        self.model.store.move(KIM, folder.path, message.uid, over.path)
        if third % 3 == 0:
            self.model.store.edit(
                KIM, over.path, message.uid, self._mime(*self.letters[message.sha256], third)
            )
        self.model.store.move(KIM, over.path, message.uid, folder.path)
        return f"{before} moves to {over.path} and back: {self.name(folder, message)}"

    def _copy(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to copy"
        folder, message = found
        target = self._folder(second + 6)
        copied = self.model.store.copy(KIM, folder.path, message.uid, target.path)
        return f"{self.name(folder, message)} is copied: {self.name(target, copied)}"

    def _delete(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to delete"
        self.model.store.delete(KIM, found[0].path, found[1].uid)
        return f"{self.name(*found)} is deleted"

    def _flag(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to flag"
        folder, message = found
        flags = message.flags ^ {"flagged" if second % 2 else "seen"}
        self.model.store.set_flags(KIM, folder.path, message.uid, frozenset(flags))
        return f"{self.name(folder, message)} has flags {sorted(flags)}"

    def _new_folder(self, first: int, second: int, third: int) -> str:
        path = _MADE[first % len(_MADE)]
        try:
            self.model.store.create_folder(KIM, path)
        except tenant.StoreError:
            return f"no new folder {path}"
        return f"a new folder {path}"

    def _rename_folder(self, first: int, second: int, third: int) -> str:
        plain = [each for each in self._folders() if each.role == "other"]
        folder, path = plain[first % len(plain)] if plain else None, ("Projects", *_MADE)[second % 5]
        try:
            self.model.store.rename_folder(KIM, folder.path if folder else "", path)
        except tenant.StoreError:
            return f"no folder can become {path}"
        return f"a folder becomes {path}"

    def _delete_folder(self, first: int, second: int, third: int) -> str:
        plain = [each for each in self._folders() if each.role == "other"]
        if not plain:
            return "no folder to delete"
        path = plain[first % len(plain)].path
        self.model.store.delete_folder(KIM, path)
        return f"{path} is deleted with all in it"

    def _renumber(self, first: int, second: int, third: int) -> str:
        folder = self._folder(first)
        self.model.store.reset_uidvalidity(KIM, folder.path)
        return f"{folder.path} is numbered anew"

    def _forget_delta(self, first: int, second: int, third: int) -> str:
        numbers = [each.number for folder in self._folders() for each in folder.changes]
        self.model.delta_lost_before = max(numbers, default=0) + 1
        return "every delta state is forgotten"

    def _poison(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to poison"
        protocol = GRAPH if second % 2 else self.legacy
        failure = _FAILURES[third % len(_FAILURES)]
        self.model.poison[protocol, found[1].immutable_id] = failure
        return f"{protocol} answers {failure.reason} for {self.name(*found)}"

    def _heal(self, first: int, second: int, third: int) -> str:
        if first % 2 or not self.model.poison:
            self.model.poison.clear()
            return "every message can be had again"
        del self.model.poison[list(self.model.poison)[second % len(self.model.poison)]]
        return "a message can be had again"

    def _hide(self, first: int, second: int, third: int) -> str:
        found = self._message(first)
        if found is None:
            return "nothing to hide"
        protocol = GRAPH if second % 3 else self.legacy
        self.model.hidden.add((protocol, found[1].immutable_id))
        if protocol is GRAPH:
            self.model.store._log(found[0], tenant.ChangeKind.REMOVED, found[1])
        return f"{protocol} does not show {self.name(*found)}"

    def _show(self, first: int, second: int, third: int) -> str:
        self.show_all()
        return "every message is shown again"

    def _quirk(self, first: int, second: int, third: int) -> str:
        match first % 4:
            case 0:
                self.model.delta_late = second % 3
                return f"deltas are {second % 3} changes late"
            case 1:
                self.model.delta_stutters = not self.model.delta_stutters
                return f"deltas stutter: {self.model.delta_stutters}"
            case 2:
                self.model.running_links_lost = not self.model.running_links_lost
                return f"running deltas lose their place: {self.model.running_links_lost}"
        found = self._message(second)
        if found is None:
            return "no move to hide"
        self.model.moves_hidden.add(found[1].immutable_id)
        return f"no delta tells of {self.name(*found)}"

    def show_all(self) -> None:
        """Let what was hidden come, as new mail comes: with a new UID, and as a change that deltas tell."""
        hidden = {immutable_id for _, immutable_id in self.model.hidden}
        self.model.hidden.clear()
        for folder, message in self.messages():
            if message.immutable_id in hidden:
                self.model.store.edit(KIM, folder.path, message.uid, self.model.store.read(message))

    def be_still(self) -> None:
        """No more quirks that pass with time."""
        self.model.delta_late = 0
        self.model.running_links_lost = False

    def name(self, folder: tenant.Folder, message: tenant.Message) -> str:
        """A message for a person to follow: its place, and which text of which letter it is."""
        letter, _ = self.letters[message.sha256]
        text = self.model.store.read(message).partition(b"Text ")[2][:4].decode()
        return f"{folder.path}/{message.uid} ({message.immutable_id[:4]}, letter {letter}, text {text})"
