"""The URLs that are asked, as msgraph-sdk's request builders make them; relative to Graph's root.

Expanding one of the SDK's URI templates takes about as long as a small request, so each is expanded
once, with stand-ins for the ids; what is asked for each message is kept with one for its id alone.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from kiota_abstractions.request_information import RequestInformation
from msgraph import GraphServiceClient

from pipelines.sources.graph_requests import MOST_IDS, PAGE

_FOLDERS = 100
_FOLDER_PROPERTIES = ("id", "displayName", "childFolderCount", "isHidden")
_STAND_IN = "THE-ID"
_PLACE = "THE-VALUE-"

Query = Mapping[str, str | int | Sequence[str]]


class Urls:
    """Of one mailbox. Folders and messages are named by id; the parts of a path are percent-encoded."""

    def __init__(self, sdk: GraphServiceClient, mailbox: str, properties: Sequence[str]) -> None:
        """``properties``: those of a message that a listing brings."""
        self._user = sdk.users.by_user_id(mailbox)
        self._properties = properties
        message = self._user.messages.by_message_id(_STAND_IN)
        self._mime = _expand(message.content)
        self._message = _expand(message)
        self._listed = _expand(message, {"%24select": properties})
        folder = self._user.mail_folders.by_mail_folder_id(_STAND_IN)
        self._named = _expand(folder, {"%24select": ("id",)})
        self._delta = _expand(folder.messages.delta, {"%24select": properties})
        self._counted = _expand(folder.messages, {"%24count": "true", "%24select": ("id",), "%24top": 1})

    def folders(self) -> str:
        """The folders at the top of the mailbox, hidden ones too."""
        return _expand(self._user.mail_folders, _folder_query())

    def child_folders(self, folder: str) -> str:
        """The folders in a folder, hidden ones too."""
        return _expand(self._user.mail_folders.by_mail_folder_id(folder).child_folders, _folder_query())

    def well_known(self, name: str) -> str:
        """The id of the folder that has this name in every language."""
        return _of(self._named, name)

    def delta(self, folder: str) -> str:
        """The folder's messages, and then their changes. Never filtered: that ends after 5,000 messages."""
        return _of(self._delta, folder)

    def count(self, folder: str) -> str:
        """How many messages the folder holds."""
        return _expand(self._messages(folder).count)

    def counted(self, folder: str) -> str:
        """The same as JSON, with the least that a listing can bring beside its ``@odata.count``."""
        return _of(self._counted, folder)

    def ids(self, folder: str) -> str:
        """The ids of the folder's messages."""
        return _expand(self._messages(folder), {"%24select": ("id",), "%24top": MOST_IDS})

    def listing(
        self, folder: str, *, since: datetime | None, before: datetime | None, newest_first: bool
    ) -> str:
        """The folder's messages by the time of their receipt, from ``since`` up to, not at, ``before``."""
        query: dict[str, str | int | Sequence[str]] = {
            "%24select": self._properties,
            "%24top": PAGE,
            "%24orderby": (f"receivedDateTime {'desc' if newest_first else 'asc'}",),
        }
        limits = (("ge", since), ("lt", before))
        if bounds := [f"receivedDateTime {how} {_instant(when)}" for how, when in limits if when]:
            query["%24filter"] = " and ".join(bounds)
        return _expand(self._messages(folder), query)

    def mime(self, message: str) -> str:
        """The message as MIME. Not below its folder: that answers 405."""
        return _of(self._mime, message)

    def listed(self, message: str) -> str:
        """What a listing tells of the message."""
        return _of(self._listed, message)

    def message(self, message: str, properties: Sequence[str]) -> str:
        """Properties of the message."""
        return f"{_of(self._message, message)}?$select={','.join(properties)}"

    def attachments(self, message: str) -> str:
        """All of the message's attachments, files with their content."""
        return _expand(self._user.messages.by_message_id(message).attachments)

    def attachment(self, message: str, attachment: str) -> str:
        """An attachment's content alone; an attached message as MIME."""
        attachments = self._user.messages.by_message_id(message).attachments
        return f"{_expand(attachments.by_attachment_id(attachment))}/$value"

    def _messages(self, folder: str) -> Any:
        return self._user.mail_folders.by_mail_folder_id(folder).messages


def _of(url: str, native_id: str) -> str:
    """The URL that was made for the stand-in, of this message or folder."""
    return url.replace(_STAND_IN, quote(native_id, safe=""))


def _folder_query() -> Query:
    return {"includeHiddenFolders": "true", "%24select": _FOLDER_PROPERTIES, "%24top": _FOLDERS}


def _expand(builder: Any, query: Query | None = None) -> str:
    information = builder.to_get_request_information()
    names = {f"{_PLACE}{number}.": name for number, name in enumerate(information.path_parameters)}
    wanted = tuple(
        (name, value if isinstance(value, str | int) else tuple(value))
        for name, value in (query or {}).items()
    )
    url = _template(information.url_template, tuple(names.items()), wanted)
    for place, name in names.items():
        value = str(information.path_parameters[name])
        url = url.replace(place, value if name == "baseurl" else quote(value, safe=""))
    return url


@lru_cache(maxsize=200)
def _template(template: str, places: tuple[tuple[str, str], ...], query: tuple[tuple[str, Any], ...]) -> str:
    """The URL with ``places`` where the values of path parameters are to stand."""
    information = RequestInformation()
    information.url_template = template
    information.path_parameters = {name: place for place, name in places}
    information.query_parameters = {
        name: list(value) if isinstance(value, tuple) else value for name, value in query
    }
    # The SDK's own client decodes the names of parameters as well.
    return str(information.url).replace("%24", "$")


def _instant(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
