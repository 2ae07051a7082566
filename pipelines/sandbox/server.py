"""Running the sandbox: every door of one tenant, until told to stop."""

import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipelines.sandbox.control import Control, write_token
from pipelines.sandbox.entra import Entra
from pipelines.sandbox.faults import Faults
from pipelines.sandbox.graph_door import GraphDoor
from pipelines.sandbox.identity import Identity, make_identity
from pipelines.sandbox.mail_doors import start_mail_doors
from pipelines.sandbox.store import Store
from pipelines.sandbox.tenant import furnish, seats, write_configuration


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running tenant."""

    config: Path
    url: str
    """The HTTPS side: Graph, token endpoint and control API."""
    imap_port: int
    pop3_port: int
    messages: int
    mailboxes: int


@contextmanager
def running(
    directory: Path,
    *,
    mailboxes: int = 3,
    pop3: Collection[str] = (),
    messages: int = 2400,
    mail: Path | None = None,
    seed: int = 0,
) -> Iterator[Sandbox]:
    """A tenant with its files in ``directory``, on free ports of 127.0.0.1, for the length of the block.

    ``pop3``: addresses that are read by POP3 in the configuration that it writes.

    Raises ``UsageError`` where ``mail`` is not there or holds no mail.
    """
    directory = directory.absolute()
    identity = make_identity(directory)
    write_token(directory, identity.control_token)
    store = Store(directory / "store")
    try:
        chosen = seats(mailboxes, pop3)
        furnish(store, chosen, messages, mail, seed)
        faults = Faults(seed)
        entra = Entra(identity, faults)
        graph = GraphDoor(store, entra, faults, seed)
        control = Control(store, faults, entra, graph.settings, identity.control_token)
        with ExitStack() as open_doors:
            port = open_doors.enter_context(
                serve_https(Starlette(routes=[*graph.routes(), *control.routes(), *entra.routes()]), identity)
            )
            doors = start_mail_doors(store, entra.verify, faults, identity.server_file)
            open_doors.callback(doors.stop)
            config = write_configuration(directory, chosen, port, doors.imap_port, doors.pop3_port)
            url = f"https://localhost:{port}"
            shown = sum(folder.shows_mail for _, folder, _ in store.everything())
            yield Sandbox(config, url, doors.imap_port, doors.pop3_port, shown, mailboxes)
    finally:
        store.close()


class _Connection(HttpToolsProtocol):
    """Lets an application reset its connection: ``scope["state"]["transport"]``."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def shutdown(self) -> None:
        """At the end, whatever the client is about: its half of a TLS farewell may never come."""
        self.transport.abort()


@contextmanager
def serve_https(application: Starlette, identity: Identity) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, which is given, for the length of the block."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    # From here on a client waits for its answer instead of being turned away.
    listener.listen(128)
    settings = uvicorn.Config(
        application,
        http=_Connection,
        ssl_certfile=str(identity.server_file),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="https")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Without force it waits a second for clients that keep their connection.
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()
