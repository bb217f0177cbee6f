"""Settings of the gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mesh.config.address import parse_address
from streams.subjects import ServiceClass

OnDisconnect = Literal["continue", "cancel"]
"""What becomes of a task whose client hangs up: it ends as if nothing had happened, or it is cancelled."""


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """How one gateway serves HTTP."""

    http: Annotated[str, Meta(description="Where HTTP is served; port 0 picks a free one.", examples=["HOST:PORT"])] = (
        "127.0.0.1:8080"
    )
    http_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names under which clients may reach it, besides loopback names and IP addresses."),
    ] = ()
    http_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins of other sites whose pages may use it, like https://chat.example.org."),
    ] = ()
    http_body_limit: Annotated[int, Meta(gt=0, description="Largest request body.", extra={"unit": "bytes"})] = (
        1024 * 1024
    )
    http_body_timeout: Annotated[
        timedelta, Meta(description="How long a client may take to send a request's body.")
    ] = timedelta(seconds=30)
    http_idle_timeout: Annotated[
        timedelta, Meta(description="After how long a connection without a whole request is closed.")
    ] = timedelta(seconds=75)
    sse_keep_alive: Annotated[
        timedelta, Meta(description="After how long without an event a stream carries a comment.")
    ] = timedelta(seconds=15)
    urgency: Annotated[ServiceClass, Meta(description="The class of tasks whose request names none.")] = "interactive"
    on_disconnect: Annotated[
        OnDisconnect, Meta(description="What becomes of a task whose client hangs up and did not say.")
    ] = "continue"
    http_stop_timeout: Annotated[
        timedelta, Meta(description="How long running answers may go on when the gateway is asked to stop.")
    ] = timedelta(seconds=10)

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        parse_address(self.http)
