"""Why the bridge ends a connection, as data: what each code means, and whether and when to come back.

44xx is the client's doing: the same again would end the same way. 45xx and the registered 1011 and 1012 are the
gateway's: connect again, to this gateway or another, and subscribe with the last ``n`` that was received.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

ComeBack = Literal["never", "at once", "after a pause"]


class CloseCode(Struct, frozen=True, kw_only=True):
    """One way in which a connection ends."""

    code: int
    name: str
    come_back: ComeBack
    meaning: str
    """Sent as the reason of the close frame, so at most 123 bytes."""


STOPPING: Final = CloseCode(
    code=1012,
    name="gateway stopping",
    come_back="at once",
    meaning="This gateway stops; subscribe again with after = the last n that you have.",
)
INTERNAL: Final = CloseCode(
    code=1011,
    name="internal error",
    come_back="after a pause",
    meaning="The gateway failed; its log says why. Subscribe again with after = the last n that you have.",
)
TOO_BIG: Final = CloseCode(
    code=1009,
    name="frame too big",
    come_back="never",
    meaning="A frame from the client was larger than hello.max_frame_bytes.",
)
BAD_FRAMES: Final = CloseCode(
    code=4400,
    name="too many bad frames",
    come_back="never",
    meaning="Frame after frame could not be read; the error frames before this say why.",
)
NOT_AUTHENTICATED: Final = CloseCode(
    code=4401,
    name="not authenticated",
    come_back="never",
    meaning="No key or session was shown in time, or it is no longer good; connect again with another.",
)
SLOW_READER: Final = CloseCode(
    code=4508,
    name="slow reader",
    come_back="after a pause",
    meaning="You read too slowly; subscribe again with after = the last n that you have.",
)
TOO_MANY: Final = CloseCode(
    code=4529,
    name="too many connections",
    come_back="after a pause",
    meaning="The account has as many connections to this gateway open as it may have; close one, or come back later.",
)

CLOSE_CODES: Final = (STOPPING, INTERNAL, TOO_BIG, BAD_FRAMES, NOT_AUTHENTICATED, SLOW_READER, TOO_MANY)
"""Every code that the bridge sends on purpose. 1006 means that the connection broke: come back after a pause."""
