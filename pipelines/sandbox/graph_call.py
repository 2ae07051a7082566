"""What a request is answered from."""

from dataclasses import dataclass
from random import Random

from pipelines.sandbox.faults import Fault
from pipelines.sandbox.graph_mailbox import GraphMailbox, Placed
from pipelines.sandbox.graph_messages import MessageView
from pipelines.sandbox.graph_request import GraphRequest
from pipelines.sandbox.graph_settings import Cloud, GraphSettings
from pipelines.sandbox.graph_states import DeltaStates


@dataclass(frozen=True, slots=True)
class GraphCall:
    """One request about one mailbox, let in."""

    request: GraphRequest
    mailbox: GraphMailbox
    user: str
    """The mailbox as the client named it."""
    settings: GraphSettings
    states: DeltaStates
    random: Random
    fault: Fault | None = None
    """A fault that concerns what is answered."""

    @property
    def user_url(self) -> str:
        """Where the mailbox is, as the client calls it."""
        return f"{self.request.root}/users/{self.user}"

    @property
    def has_headers(self) -> bool:
        """Whether this cloud's messages have ``internetMessageHeaders``."""
        return self.settings.cloud is not Cloud.CHINA

    def chance(self, probability: float) -> bool:
        """Whether it happens this time."""
        return self.random.random() < probability

    def view(self, placed: Placed) -> MessageView:
        """A message with ids and body as the client prefers."""
        preferences = self.request.preferences
        return MessageView(
            self.mailbox.store, placed, immutable=preferences.immutable_ids, text_body=preferences.text_body
        )

    def context(self, what: str) -> str:
        """``@odata.context`` of something in the mailbox."""
        user = self.user.replace("@", "%40")
        return f"{self.request.root}/$metadata#users('{user}')/{what}"
