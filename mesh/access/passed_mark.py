"""The mark by which services know a task that has passed a gateway: it has paid there, and does not pay again.

Whoever is on the bus may send any header, so the mark is a MAC over the subject of the submission, under the secret
that only services of this mesh have (``mesh.access.session_keys``). Each subject takes one message ever, and nobody but
services reads submissions: a mark serves once, for the task that it was made for.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.access.session_keys import SessionKeys

PASSED: Final = "Ig3-Passed"
"""The header of a submission that holds the mark."""

_BYTES: Final = 16
_PURPOSE: Final = b"ig3-passed"


def passed_mark(keys: SessionKeys, subject: str) -> str:
    """Make the mark of the task that is submitted on ``subject``."""
    return hashlib.blake2b(subject.encode(), key=keys.nonce_secret, person=_PURPOSE, digest_size=_BYTES).hexdigest()


def has_passed(keys: SessionKeys, subject: str, shown: str | None) -> bool:
    """Whether a service of this mesh has let this task pass."""
    return shown is not None and hmac.compare_digest(passed_mark(keys, subject).encode(), shown.encode())
