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


class TlsError(MeshError):
    """A certificate, its key or an authority cannot be used."""


class TlsNotTaken(TlsError):
    """Certificates that may well be good could not be handed over now; the message says to whom."""


class SiteError(MeshError):
    """There is no such edge site, or there is one already, or what is kept of it is damaged."""


class BrokerError(MeshError):
    """Root of what can go wrong with a nats-server of our own."""


class PortInUse(BrokerError):
    """Somebody else listens on the broker's port."""


class StoreInUse(BrokerError):
    """Another broker works on the same data folder."""


class BrokerFailed(BrokerError):
    """The nats-server cannot be started, or does not stay up."""


class StoreMismatch(BrokerError):
    """The data folder holds the streams of another number of servers, which would not be seen."""


class AlreadyRunning(MeshError):
    """A mesh already runs on the same data folder."""


class ChildFailed(MeshError):
    """A process of the mesh cannot be started, or does not stay up."""


class WrittenByNewer(MeshError):
    """What is stored was written by a newer version than this process: upgrade it. Nothing was changed."""


class StoreTooNew(MeshError):
    """The streams are in a format that only a newer version knows."""


class BusError(MeshError):
    """Root of what can go wrong on the bus."""


class BusUnavailable(BusError):
    """No server can be reached, or it refuses these credentials."""


class BusRefused(BusUnavailable):
    """The broker was reached and does not let us in: the credential is wrong, or somebody has to admit us first."""


class BusUntrusted(BusUnavailable):
    """What was reached does not prove to be the broker: nothing was told it."""


class BusUndecided(BusUnavailable):
    """The broker was reached, but no identity service is there to say whether we may come in: try again."""


class NoResponders(BusError):
    """Nobody listens on the subject of a request."""


class RequestTimedOut(BusError):
    """No answer came in time. A question, never a verdict: it may have been served."""


class NoLeader(BusError):
    """A replicated stream, or the cluster, has no leader at the moment, or too few servers are up: ask again."""


class PublishUnknown(BusError):
    """No acknowledgement came in time. A question, never a verdict: the event may be stored."""


class StoreFull(PublishUnknown):
    """The stream has no room now, and stored nothing; the same append may succeed when there is room again."""


class PublishRefused(BusError):
    """The stream will not store this event; publishing it again changes nothing."""


class FenceMismatch(PublishRefused):
    """Something was stored on the subject family since it was read: look again before going on."""


class SubjectTaken(PublishRefused):
    """The subject holds its one message already: somebody was first."""


class TaskRefused(MeshError):
    """The mesh will not take the task; ``code`` and ``status`` are what HTTP would have given."""

    def __init__(self, message: str, *, code: str, status: int, retry_after_s: float | None = None) -> None:
        """Keep the machine-readable part beside the message; ``retry_after_s``: when it is worth asking again."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s


class TaskFailedError(MeshError):
    """The mesh took the task, and no whole answer will come. ``text`` is what was written until then."""

    def __init__(self, message: str, *, task: str, code: str, status: int, text: str) -> None:
        """Keep the machine-readable part beside the message; ``code`` and ``status`` are what HTTP would have given."""
        super().__init__(message)
        self.task = task
        self.code = code
        self.status = status
        self.text = text


class TaskCancelledError(TaskFailedError):
    """Somebody cancelled the task before its answer was whole."""


class DeadLetterError(MeshError):
    """No such task is kept as dead, its content is gone, or somebody has decided about it already."""


class IdentityError(MeshError):
    """Root of what can be wrong with a key, an account or a DID."""


class InvalidEncoding(IdentityError):
    """A key or an account is not written as it should be: base58, SS58, hex, or a checksum does not fit."""


class InvalidKey(IdentityError):
    """The bytes are no key of their algorithm, or the text names a key in no way that is known here."""


class InvalidDid(IdentityError):
    """The text is not a DID that can sign here."""


class KeyFileError(IdentityError):
    """A key file is there already, is damaged, or holds another key than it says."""


class WrongPassphrase(KeyFileError):
    """The passphrase does not open the key file, or there is none where one is needed."""


class InvalidDocument(IdentityError):
    """What the chain holds under a name is no DID document that is read here."""


class ChainUnavailable(IdentityError):
    """No endpoint of the chain can be used: none answers, or each is of another chain or too far behind."""


class RegistrationRefused(IdentityError):
    """The chain does not take a document."""


class ResolverUnavailable(IdentityError):
    """Who it is cannot be found out now, because the chain cannot be asked: nothing is known against it."""


class NotProven(IdentityError):
    """Somebody did not prove to be who they say. ``rule`` and the text are for the operator, not for them."""

    def __init__(self, message: str, *, rule: str) -> None:
        """Keep the name of the rule beside the text."""
        super().__init__(message)
        self.rule = rule


class InvalidCallout(IdentityError):
    """What the broker asks of the identity service cannot be read."""


class InvalidLogin(IdentityError):
    """What a client shows of itself is malformed."""


class NotAdmitted(IdentityError):
    """Somebody may not connect. The text is for the operator, not for them."""


class DeviceError(MeshError):
    """There is no such device, or its name or DID is another's, or it was shut out for good."""


class GroupError(MeshError):
    """There is no such shard group, or it has ended already."""


class AccountError(MeshError):
    """There is no such account, member or key, or there is one already, or the change makes no sense."""


class CredentialRefused(MeshError):
    """Somebody shows what opens nothing. The message goes to whoever that is, and says little; ``reason`` says why."""

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the reason for the operator beside the message for the stranger."""
        super().__init__(message)
        self.reason = reason


class FileNotKept(MeshError):
    """A user's file is not taken; the message says why."""


class ModelStoreError(MeshError):
    """The model store cannot do that; the message says what to do."""
