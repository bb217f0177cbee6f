"""Settings of the identity service as far as devices go. Every command reads them: nothing heavy is imported here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from mesh.config.address import parse_address

AdmissionRule = Literal["listed", "open", "credential"]
"""Which devices may take part: those that an operator admits, all that prove a DID, or those with an issuer's word."""

LONGEST_SESSION: Final = timedelta(minutes=15)
"""A right that was given lasts no longer, whatever the settings say."""

_SHORTEST: Final = timedelta(seconds=2)


class DeviceSettings(Struct, frozen=True, kw_only=True):
    """Which devices may take part, and how long they are let in for."""

    admission: Annotated[
        AdmissionRule,
        Meta(
            description="Which devices may take part: listed, those that `ig3 devices admit` lets in; open, all that"
            " prove a DID; credential, those with the word of an issuer."
        ),
    ] = "listed"
    credential_issuers: Annotated[
        tuple[str, ...], Meta(description="DIDs (did:key, Ed25519) whose word lets a device in.")
    ] = ()
    audiences: Annotated[
        tuple[str, ...],
        Meta(
            description="HOST:PORT under which devices reach the broker, besides those in `nats`: a device signs what"
            " it dialled, and any other address is refused."
        ),
    ] = ()
    device_session: Annotated[
        timedelta, Meta(description="How long the right to be connected lasts before it must be proved anew.")
    ] = LONGEST_SESSION
    waiting_devices: Annotated[
        int, Meta(ge=0, description="How many devices may wait to be admitted; more are only written to the log.")
    ] = 1000

    device_data: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Most that a device may send to the bus in a minute; one that sends more is suspended.",
            extra={"unit": "bytes"},
        ),
    ] = 1024 * 1024 * 1024
    device_messages: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="The same in messages.", examples=["N"])
    ] = 1_200_000

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        for audience in self.audiences:
            parse_address(audience)
        if not _SHORTEST <= self.device_session <= LONGEST_SESSION:
            raise ValueError(f"device_session must be {_SHORTEST} to {LONGEST_SESSION}")
        if self.admission == "credential" and not self.credential_issuers:
            raise ValueError("admission = credential needs credential_issuers")
