"""MessagePack as somebody else's library writes it: bytes that no struct of ours has checked."""

import msgpack


def packed(body: object) -> bytes:
    """Pack anything, also what no event looks like."""
    data = msgpack.packb(body)
    assert isinstance(data, bytes)
    return data
