"""Changing accounts: each change is decided on the whole chain of its account and fenced on it.

Whoever was overtaken looks again and decides anew; so does whoever does not know whether an event was stored. What
is the case already is not written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.access.api_keys import new_key
from mesh.access.reading import read_access
from mesh.bus.appends import Fence
from mesh.errors import AccountError, FenceMismatch, PublishUnknown, StoreFull, WrittenByNewer
from streams import subjects
from streams.access.events import (
    AccountClosed,
    AccountErased,
    AccountOpened,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
)
from streams.access.fold import LOCAL, may_have_role
from streams.billing.subjects import UNKNOWN
from streams.cache.subjects import SHARED
from streams.clock import now_ms
from streams.codec import encode
from streams.subjects import CHECKS

if TYPE_CHECKING:
    from mesh.access.api_keys import ShownKey
    from mesh.bus.link import Link
    from streams.access.events import AccessEvent, Right, Role
    from streams.access.fold import Access, Account, ApiKey
    from streams.access.limits import Bounds, Limits
    from streams.tokens import Token

OPERATOR: Final = "operator"
"""Who changes accounts with the services' credentials."""

_TRIES: Final = 8
_PAUSE_S: Final = 0.2

Decide = Callable[["Access"], "AccessEvent | None"]
"""Gets the account as it stands; returns what is to happen, or None if it is the case already."""


class IssuedKey(NamedTuple):
    """A new key, to be shown once, and where its event stands."""

    shown: ShownKey
    sequence: int


class AccessWriter:
    """Writes ACCESS. Each call returns the stream sequence at which the change stands."""

    def __init__(self, core: Link, *, by: str = OPERATOR) -> None:
        """Write through ``core``, in the name of ``by``: a DID, or the operator."""
        self._core = core
        self._by = by

    async def open(self, account: Token, *, owner: str | None = None) -> int:
        """Open an account; ``owner`` is a DID as ``mesh.access.people`` writes it.

        Raises:
            AccountError: if there is, or was, an account of this name that somebody else opened, or the name is the
                mesh's own.
            BusError: if it cannot be stored now.
        """
        if account in (CHECKS, SHARED, UNKNOWN):
            raise AccountError(f"{account} is a name that the mesh uses itself: choose another")
        event = AccountOpened(at_ms=now_ms(), by=self._by, owner=owner)

        def decide(access: Access) -> AccessEvent | None:
            standing = access.account(account)
            if standing is None:
                return event
            if (standing.by, standing.opened_at_ms) == (event.by, event.at_ms):
                return None
            raise AccountError(f"there is an account {account} already, or was: choose another name")

        return await self._write(account, decide)

    async def join(self, account: Token, did: str, role: Role) -> int:
        """Make somebody a member, or give a member another role.

        Raises:
            AccountError: if there is no such account, or no such role in it.
            BusError: if it cannot be stored now.
        """
        if not may_have_role(account, role):
            remedy = "use operator, member or viewer" if account == LOCAL else "use owner, member or viewer"
            raise AccountError(f"nobody can be {role} of account {account}: {remedy}")

        def decide(access: Access) -> AccessEvent | None:
            member = _open_account(access, account).member(did)
            if member is not None and member.role == role:
                return None
            return MemberJoined(at_ms=now_ms(), did=did, role=role, by=self._by)

        return await self._write(account, decide)

    async def leave(self, account: Token, did: str) -> int:
        """Make somebody a member no longer.

        Raises:
            AccountError: if there is no such account.
            BusError: if it cannot be stored now.
        """

        def decide(access: Access) -> AccessEvent | None:
            is_member = _open_account(access, account).member(did) is not None
            return MemberLeft(at_ms=now_ms(), did=did, by=self._by) if is_member else None

        return await self._write(account, decide)

    async def issue(
        self,
        account: Token,
        *,
        name: str,
        rights: tuple[Right, ...],
        models: tuple[str, ...] = (),
        tools: tuple[str, ...] = (),
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        expires_at_ms: int | None = None,
    ) -> IssuedKey:
        """Make an API key.

        Raises:
            AccountError: if there is no such account, or the key would be good for nothing.
            BusError: if it cannot be stored now.
        """
        if not rights:
            raise AccountError("a key without a right is good for nothing: name chat, read or admin")
        shown = new_key()
        event = KeyIssued(
            at_ms=now_ms(),
            key_id=shown.key_id,
            digest=shown.digest,
            name=name,
            rights=rights,
            models=models,
            tools=tools,
            limits=limits,
            bounds=bounds,
            expires_at_ms=expires_at_ms,
            by=self._by,
        )

        def decide(access: Access) -> AccessEvent | None:
            _open_account(access, account)
            return event if access.key(shown.key_id) is None else None

        return IssuedKey(shown, await self._write(account, decide))

    async def revoke(self, account: Token, key_id: str, *, reason: str) -> int:
        """Make an API key worth nothing.

        Raises:
            AccountError: if the account has no such key.
            BusError: if it cannot be stored now.
        """

        def decide(access: Access) -> AccessEvent | None:
            _open_account(access, account)
            if _key(access, account, key_id).revoked_at_ms is not None:
                return None
            return KeyRevoked(at_ms=now_ms(), key_id=key_id, by=self._by, reason=reason)

        return await self._write(account, decide)

    async def close(self, account: Token, *, reason: str) -> int:
        """Close an account for ever.

        Raises:
            AccountError: if there is no such account, or it is the operator's.
            BusError: if it cannot be stored now.
        """
        if account == LOCAL:
            raise AccountError(f"the account {LOCAL} is that of who runs the mesh, and cannot be closed")

        def decide(access: Access) -> AccessEvent | None:
            if not _account(access, account).is_open:
                return None
            return AccountClosed(at_ms=now_ms(), by=self._by, reason=reason)

        return await self._write(account, decide)

    async def erased(self, account: Token, *, reason: str, at_ms: int, messages: int) -> int:
        """Note that the content of an account's tasks up to ``at_ms`` is gone.

        Raises:
            AccountError: if there never was such an account.
            BusError: if it cannot be stored now.
        """
        event = AccountErased(at_ms=at_ms, by=self._by, reason=reason, messages=messages)

        def decide(access: Access) -> AccessEvent | None:
            _account(access, account)
            return event

        return await self._write(account, decide)

    async def _write(self, account: Token, decide: Decide) -> int:
        subject = subjects.access(account)
        for _ in range(_TRIES):
            access, last_sequence = await self._read(account)
            event = decide(access)
            if event is None:
                return last_sequence
            try:
                return await self._core.append(subject, encode(event), fence=Fence(subject, last_sequence))
            except FenceMismatch:
                continue
            except StoreFull:
                raise
            except PublishUnknown:
                await asyncio.sleep(_PAUSE_S)
        raise PublishUnknown(f"it is not known whether {subject} has the change: look, and repeat it if not")

    async def _read(self, account: Token) -> tuple[Access, int]:
        """Fold the account's chain, from its first event to the one that stands last now."""
        access, last_sequence = await read_access(self._core, account)
        if (reason := access.unreadable(account)) is not None:
            raise WrittenByNewer(f"account {account} cannot be changed by this version: {reason}")
        return access, last_sequence


def _account(access: Access, name: Token) -> Account:
    account = access.account(name)
    if account is None:
        raise AccountError(f"there is no account {name}: `ig3 account list` shows those that there are")
    return account


def _open_account(access: Access, name: Token) -> Account:
    account = _account(access, name)
    if not account.is_open:
        raise AccountError(f"account {name} was closed, for ever: {account.closed_because}")
    return account


def _key(access: Access, account: Token, key_id: str) -> ApiKey:
    key = access.key(key_id)
    if key is None:
        raise AccountError(f"account {account} has no key {key_id!r}: `ig3 keys list --of {account}` shows its keys")
    return key
