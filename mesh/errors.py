"""What can go wrong between a process and the bus, as one small hierarchy.

The command line shows the text of these errors as it is, without a traceback: each says what was wrong and what to do.
"""

from __future__ import annotations


class MeshError(Exception):
    """Root of every error raised by ``mesh``; packages above derive their own roots from it."""


class SettingsError(MeshError, ValueError):
    """A setting is unknown, or its value cannot be used."""


class CredentialsError(MeshError):
    """A credential is missing, damaged, or readable by others."""


class BrokerError(MeshError):
    """Root of what can go wrong with a nats-server of our own."""


class PortInUse(BrokerError):
    """Somebody else listens on the broker's port."""


class StoreInUse(BrokerError):
    """Another broker works on the same data folder."""


class BrokerFailed(BrokerError):
    """The nats-server cannot be started, or does not stay up."""


class AlreadyRunning(MeshError):
    """A mesh already runs on the same data folder."""


class ChildFailed(MeshError):
    """A process of the mesh cannot be started, or does not stay up."""
