"""The roster as projections: its two folds, of MODELS and of DEVICES, each with its own place in its own stream."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from streams.codec import decode_device_event, decode_model_event
from streams.devices.roster import Roster
from streams.errors import StreamsError
from streams.tokens import token

if TYPE_CHECKING:
    from streams.tokens import Token

log = logging.getLogger(__name__)

MODEL_SUBJECTS: Final = "models.*.*"
DEVICE_SUBJECTS: Final = "devices.*.*"


class RosterModels:
    """Which node serves which model: the fold of MODELS."""

    name = "roster.models"
    version = Roster.VERSION

    def __init__(self, roster: Roster) -> None:
        """Feed ``roster``."""
        self._roster = roster

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event; what cannot be read is left out, with an error in the log."""
        try:
            self._roster.apply_model(node_of(subject), decode_model_event(data))
        except StreamsError as error:
            log.error("event %d of MODELS (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._roster.dump_models()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._roster.load_models(data)


class RosterDevices:
    """Which devices there are and whether they are here: the fold of DEVICES."""

    name = "roster.devices"
    version = Roster.VERSION

    def __init__(self, roster: Roster) -> None:
        """Feed ``roster``."""
        self._roster = roster

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event; what cannot be read is left out, with an error in the log."""
        try:
            self._roster.apply_device(node_of(subject), decode_device_event(data))
        except StreamsError as error:
            log.error("event %d of DEVICES (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._roster.dump_devices()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._roster.load_devices(data)


def node_of(subject: str) -> Token:
    """Return the node that a subject of MODELS or DEVICES names."""
    return token(subject.split(".")[1])
