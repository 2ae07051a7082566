"""Downloading an Inbox with the standard library's poplib: what anybody would write.

python -m benchmarks.poplib_alone PORT CA_FILE ADDRESS PASSWORD FOLDER

It imports nothing else, so that a process of it starts as fast as such a script would.
"""

import poplib
import ssl
import sys
from pathlib import Path


def download(port: int, ca_file: Path, address: str, password: str, into: Path) -> None:
    """Every message, a file each."""
    context = ssl.create_default_context(cafile=ca_file)
    client = poplib.POP3_SSL("localhost", port, context=context)
    client.user(address)
    client.pass_(password)
    for line in client.uidl()[1]:
        number, uidl = line.decode().split()
        (into / uidl).write_bytes(b"\r\n".join([*client.retr(number)[1], b""]))
    client.quit()


if __name__ == "__main__":
    download(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5]))
