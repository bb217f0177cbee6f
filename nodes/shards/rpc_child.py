"""The process of a member: llama.cpp's RPC server in a private network.

``python -m nodes.shards.rpc_child FD THREADS BYTES``: FD is its end of a pair of packet sockets. To each packet that
the node sends it answers with a socket made in here, which the node connects to the server: there is no other way in.
"""

from __future__ import annotations

import resource
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.errors import EngineUnavailable
from nodes.shards.private_network import enter_private_network
from nodes.shards.rpc_binding import RPC_PORT, import_rpc, serve_rpc

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Serve until the node closes the pair, or ends this process."""
    descriptor, threads, lent_bytes = (int(text) for text in arguments)
    channel = socket.socket(fileno=descriptor)
    try:
        enter_private_network()
        import_rpc()
    except EngineUnavailable as error:
        sys.exit(str(error))
    _take_no_more_than(lent_bytes)
    threading.Thread(target=_hand_out, args=(channel,), daemon=True).start()
    serve_rpc(RPC_PORT, threads)
    sys.exit("the RPC server could not listen in its own network")


def _take_no_more_than(lent_bytes: int) -> None:
    """Have the kernel refuse more memory than was lent: a leader that asks for more gets an error, not this machine."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = pages * resource.getpagesize() + lent_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _hand_out(channel: socket.socket) -> None:
    while channel.recv(1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inner:
            socket.send_fds(channel, [b"\0"], [inner.fileno()])


if __name__ == "__main__":
    main(sys.argv[1:])
