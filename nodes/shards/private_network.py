"""A network namespace of one's own: what runs there can be reached by nobody, and can reach nobody.

llama.cpp's RPC has no authentication, and speaks TCP alone. So its processes live where the loopback interface is
theirs only; the node reaches them through sockets that were made inside and handed out (``nodes.shards.child``).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from typing import Final

from nodes.errors import EngineUnavailable

_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_SET_INTERFACE_FLAGS: Final = 0x8914
_IS_UP: Final = 0x1


def enter_private_network() -> None:
    """Leave the network of the machine for an empty one, for ever; call it before any thread is started.

    Root makes the namespace as it is; others need a user namespace around it, which some systems forbid.

    Raises:
        EngineUnavailable: where the system does not let it.
    """
    if sys.platform != "linux":
        raise EngineUnavailable("shard groups need Linux: only there is a network namespace")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        raise EngineUnavailable(
            f"the system refuses a network namespace ({why}): allow user namespaces"
            " (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run the node as root"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, struct.pack("16sh14x", b"lo", _IS_UP))
