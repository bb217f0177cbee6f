"""Records of the cache on their way to a store and back: what is not exactly what a gateway put there is nothing.

A store may be one that others write to, and its bytes may be damaged, of another place or of another version.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from streams.cache.messages import CacheAnswer, CacheClaim, CacheNear, CacheRecord, CacheVoid

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.key import Slot

Body = CacheClaim | CacheAnswer | CacheVoid | CacheNear

_PURPOSE: Final = b"ig3-cache-entry"
_BYTES: Final = 32
_TAG: Final = CacheRecord.__struct_config__.tag


class _Sealed(Struct, tag=_TAG, tag_field="type"):
    """A ``CacheRecord`` whose body is not looked into before its seal is checked."""

    seal: str
    body: Raw


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_sealed: Final = msgspec.msgpack.Decoder(_Sealed).decode
_decode_body: Final = msgspec.msgpack.Decoder(Body).decode


class Sealer:
    """Seals under the secret that only services of this mesh have."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        """Ask ``secret`` each time: the file it stands in may be replaced."""
        self._secret = secret

    def seal(self, slot: Slot, body: Body) -> bytes:
        """Write a body as what stands in a slot, and nowhere else."""
        raw = _encode(body)
        return _encode(_Sealed(self._mac(slot, raw), Raw(raw)))

    def open(self, slot: Slot, data: bytes) -> Body | None:
        """Read what stands in a slot; None if nothing does, or nothing that can be believed."""
        if not data:
            return None
        try:
            sealed = _decode_sealed(data)
            raw = bytes(sealed.body)
            if not hmac.compare_digest(self._mac(slot, raw).encode(), sealed.seal.encode("utf-8", "replace")):
                return None
            return _decode_body(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _mac(self, slot: Slot, raw: bytes) -> str:
        message = b"%b.%b\0%b" % (slot.owner.encode(), slot.digest.encode(), raw)
        return hashlib.blake2b(message, key=self._secret(), person=_PURPOSE, digest_size=_BYTES).hexdigest()
