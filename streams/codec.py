"""Bytes to typed values and back: MessagePack on the wire, JSON where a user's client says so.

One decoder per type is built once; decoding checks types and bounds, so what passes is what the struct says.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import msgspec

from streams.batches.events import BatchEvent
from streams.billing.log import AnyBillingEvent
from streams.errors import NewerEvent, UndecodableEvent
from streams.events import CATALOGUE, AccessEvent, DeadEvent, DeviceEvent, EndEvent, ModelEvent, TaskEvent
from streams.files.events import FileEvent
from streams.groups.events import GroupEvent
from streams.stores.events import StoreEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.events import Event
    from streams.messages import Wire

T = TypeVar("T")

JSON_CONTENT_TYPE: Final = "application/json"
"""``Content-Type`` header of a message whose body is JSON; without it the body is MessagePack."""

_encoder: Final = msgspec.msgpack.Encoder()
_json_encoder: Final = msgspec.json.Encoder()


def encode(value: Event | Wire) -> bytes:
    """Write a value as MessagePack."""
    return _encoder.encode(value)


def encode_json(value: object) -> bytes:
    """Write a value as JSON; bytes become base64."""
    return _json_encoder.encode(value)


@cache
def _decoder(kind: Any, *, as_json: bool) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode if as_json else msgspec.msgpack.Decoder(kind).decode


def is_json(content_type: str | None) -> bool:
    """Whether a ``Content-Type`` header says JSON; parameters and case do not matter."""
    return content_type is not None and content_type.split(";")[0].strip().lower() == JSON_CONTENT_TYPE


def decode(data: bytes, kind: type[T], *, content_type: str | None = None) -> T:
    """Read one value of type ``kind``.

    Raises:
        UndecodableEvent: if the bytes are not that; the message names the field.
    """
    as_json = is_json(content_type)
    try:
        value: T = _decoder(kind, as_json=as_json)(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wire = "JSON" if as_json else "MessagePack"
        raise UndecodableEvent(f"not a valid {wire} body: {error}") from error
    return value


class _Tagged(msgspec.Struct):
    """What every event has, of whichever version."""

    type: str
    n: int = 0


_tagged: Final = msgspec.msgpack.Decoder(_Tagged)
_TAG: Final = re.compile(r"[a-z]+(\.[a-z_]+)+\.v[1-9][0-9]{0,3}")


_elsewhere: Final = frozenset(kind.__struct_config__.tag for kind in CATALOGUE)


def _unreadable(data: bytes, own: frozenset[object], reason: object) -> UndecodableEvent:
    """Say of bytes that could not be decoded whether a newer version may have written them, or nobody who knows events.

    Other bytes that are stored where events are, such as an acknowledgement of the broker, have no ``type``. A word
    that is not known in an event that is makes it unreadable too, but an event of another stream is only out of place.
    """
    try:
        tagged = _tagged.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UndecodableEvent(f"not an event of this stream: {reason}")
    is_out_of_place = tagged.type in _elsewhere and tagged.type not in own
    if is_out_of_place or _TAG.fullmatch(tagged.type) is None:
        return UndecodableEvent(f"not an event of this stream: {reason}")
    return NewerEvent(tagged.type, tagged.n, str(reason))


def _union_decoder(union: Any) -> Callable[[bytes], Any]:
    decode_bytes = msgspec.msgpack.Decoder(union).decode
    own = frozenset(kind.__struct_config__.tag for kind in get_args(union))

    def read(data: bytes) -> Any:
        try:
            return decode_bytes(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(data, own, error) from error

    return read


decode_task_event: Final[Callable[[bytes], TaskEvent]] = _union_decoder(TaskEvent)
"""Read what RESULTS holds."""

decode_end_event: Final[Callable[[bytes], EndEvent]] = _union_decoder(EndEvent)
"""Read what ENDED holds."""

decode_model_event: Final[Callable[[bytes], ModelEvent]] = _union_decoder(ModelEvent)
"""Read what MODELS holds."""

decode_device_event: Final[Callable[[bytes], DeviceEvent]] = _union_decoder(DeviceEvent)
"""Read what DEVICES holds."""

decode_group_event: Final[Callable[[bytes], GroupEvent]] = _union_decoder(GroupEvent)
"""Read what GROUPS holds."""

decode_file_event: Final[Callable[[bytes], FileEvent]] = _union_decoder(FileEvent)
"""Read what FILES holds."""

decode_batch_event: Final[Callable[[bytes], BatchEvent]] = _union_decoder(BatchEvent)
"""Read what BATCHES holds."""

decode_store_event: Final[Callable[[bytes], StoreEvent]] = _union_decoder(StoreEvent)
"""Read what STORES holds."""

decode_dead_event: Final[Callable[[bytes], DeadEvent]] = _union_decoder(DeadEvent)
"""Read what DEAD holds."""

decode_access_event: Final[Callable[[bytes], AccessEvent]] = _union_decoder(AccessEvent)
"""Read what ACCESS holds."""

decode_billing_event: Final[Callable[[bytes], AnyBillingEvent]] = _union_decoder(AnyBillingEvent)
"""Read what BILLING holds."""
