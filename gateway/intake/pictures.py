"""Pictures that users send: told by their first bytes, whatever the sender says, and those in ``data:`` URLs."""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from gateway.errors import GatewayError

DATA_SCHEME: Final = "data:"
_BASE64: Final = ";base64"


class PictureRefused(GatewayError):
    """A picture that no engine is given; the message says why, and fits behind a colon."""


class Picture(NamedTuple):
    """The bytes of a picture, and what they are."""

    media_type: str
    data: bytes


def picture_of(data: bytes) -> Picture:
    """Tell what a picture is.

    Raises:
        PictureRefused: if it is none of the kinds that engines take.
    """
    for media_type, begins in _BEGINNINGS:
        if data.startswith(begins):
            return Picture(media_type, data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Picture("image/webp", data)
    raise PictureRefused("it is no PNG, JPEG, GIF or WebP picture")


_BEGINNINGS: Final = (
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
)


def picture_in(url: str) -> Picture:
    """Read a picture out of a ``data:`` URL (RFC 2397), in base64; what it says of its type is not believed.

    Raises:
        PictureRefused: if there is none in it.
    """
    head, comma, body = url.partition(",")
    if not head.lower().startswith(DATA_SCHEME) or not comma:
        raise PictureRefused("it is no data URL")
    if not head.lower().endswith(_BASE64):
        raise PictureRefused("a data URL must be in base64: data:image/png;base64,…")
    try:
        return picture_of(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError) as error:
        raise PictureRefused("what follows ';base64,' is no base64") from error
