"""Who may speak for which account, as a fold of ACCESS: accounts, their members, their API keys.

Every account is a chain of its own. What does not fit (a member of an account that was never opened, anything behind
its closing, a role that there is not in this account) counts for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streams.access.events import (
    AccountClosed,
    AccountErased,
    AccountOpened,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
    Right,
    Role,
)
from streams.access.limits import NO_BOUNDS, NO_LIMITS, Bounds, Limits
from streams.codec import decode
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.access.events import AccessEvent

LOCAL: Final = Token("local")
"""The account of whoever runs the mesh. It is there without being opened, and cannot be closed."""

RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    "owner": frozenset({"chat", "read", "admin"}),
    "member": frozenset({"chat", "read"}),
    "viewer": frozenset({"read"}),
    "operator": frozenset({"chat", "read", "admin"}),
}
"""What a role lets somebody do in the account."""


class Member(Struct, frozen=True, kw_only=True):
    """Somebody who belongs to an account."""

    did: str
    role: Role
    since_ms: int


class Account(Struct, frozen=True, kw_only=True):
    """One account as it stands."""

    account: Token
    opened_at_ms: int
    by: str
    members: tuple[Member, ...] = ()
    closed_at_ms: int | None = None
    closed_because: str = ""
    erased_at_ms: int | None = None
    """The content of tasks that had ended by then was erased."""

    @property
    def is_open(self) -> bool:
        """Whether anybody speaks for it."""
        return self.closed_at_ms is None

    def member(self, did: str) -> Member | None:
        """Somebody who belongs to it, closed or not."""
        return next((member for member in self.members if member.did == did), None)


class ApiKey(Struct, frozen=True, kw_only=True):
    """One API key as it stands. What it opens is only known to whoever was shown it."""

    key_id: str
    account: Token
    digest: str
    """SHA-256 of its secret, in hex."""
    name: str
    rights: tuple[Right, ...]
    models: tuple[str, ...]
    """The models that it may ask; none named: all."""
    tools: tuple[str, ...] = ()
    """The functions that it may offer to them; none named: all."""
    limits: Limits = NO_LIMITS
    bounds: Bounds = NO_BOUNDS
    issued_at_ms: int
    expires_at_ms: int | None
    by: str
    revoked_at_ms: int | None = None
    revoked_because: str = ""

    def is_good(self, *, now_ms: int) -> bool:
        """Whether it is neither revoked nor over; whether its account is open is another question."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


class Membership(Struct, frozen=True, kw_only=True):
    """One account that somebody belongs to."""

    account: Token
    role: Role


class _State(Struct, frozen=True, kw_only=True):
    """What ACCESS adds up to, as it is written into snapshots."""

    accounts: dict[Token, Account]
    keys: dict[str, ApiKey]
    unreadable: dict[Token, str]


def may_have_role(account: Token, role: Role) -> bool:
    """Whether there is such a role in an account: operators are those of ``local``, which has no owners."""
    return role != ("owner" if account == LOCAL else "operator")


class Access:
    """The projection. It is fed from one place, in stream order."""

    VERSION: Final = 3
    """Raise it whenever the same events add up to something else: older snapshots are then not used."""

    def __init__(self) -> None:
        """Start empty, before the first event; ``local`` is there."""
        self._accounts: dict[Token, Account] = {LOCAL: Account(account=LOCAL, opened_at_ms=0, by="operator")}
        self._keys: dict[str, ApiKey] = {}
        self._unreadable: dict[Token, str] = {}
        self._roles: dict[str, dict[Token, Role]] = {}
        self.losses = 0
        """How often this process has seen somebody lose something: then whoever was let in is looked at again."""

    def apply(self, account: Token, event: AccessEvent) -> None:
        """Fold one event."""
        standing = self._accounts.get(account)
        if isinstance(event, AccountOpened):
            if standing is None:
                self._open(account, event)
        elif standing is not None and isinstance(event, AccountErased):
            # Of a closed account too: that is when it is asked for.
            self._accounts[account] = replace(standing, erased_at_ms=event.at_ms)
        elif standing is not None and standing.is_open:
            self._change(standing, event)

    def apply_unreadable(self, account: Token, reason: str) -> None:
        """Take note that a newer version wrote an event of this account, which may take a right away."""
        self._unreadable.setdefault(account, reason)
        self.losses += 1

    # --- as a projection -------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return all that ACCESS has added up to. The same events give the same bytes."""
        state = _State(accounts=self._accounts, keys=self._keys, unreadable=self._unreadable)
        return msgspec.msgpack.encode(state)

    def load(self, data: bytes) -> None:
        """Replace all that ACCESS has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        state = decode(data, _State)
        self._accounts, self._keys, self._unreadable = state.accounts, state.keys, state.unreadable
        self._roles = {}
        for account in self._accounts.values():
            if account.is_open:
                for member in account.members:
                    self._roles.setdefault(member.did, {})[account.account] = member.role

    # --- questions -------------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account | None:
        """One account, open or closed, or None if there never was one."""
        return self._accounts.get(Token(name))

    def accounts(self) -> tuple[Account, ...]:
        """Every account, closed ones too, by name."""
        return tuple(self._accounts[name] for name in sorted(self._accounts))

    def key(self, key_id: str) -> ApiKey | None:
        """One API key, good or not, or None if there never was one."""
        return self._keys.get(key_id)

    def keys_of(self, account: Token) -> tuple[ApiKey, ...]:
        """Every API key of an account, good or not, the oldest first."""
        return tuple(key for key in self._keys.values() if key.account == account)

    def memberships(self, did: str) -> tuple[Membership, ...]:
        """The open accounts that somebody belongs to, by name."""
        roles = self._roles.get(did, {})
        return tuple(Membership(account=account, role=roles[account]) for account in sorted(roles))

    def role(self, account: str, did: str) -> Role | None:
        """What somebody is in an open account, or None."""
        return self._roles.get(did, {}).get(Token(account))

    def unreadable(self, account: str) -> str | None:
        """Why nobody may be believed about an account here, since a newer version wrote of it, or None."""
        return self._unreadable.get(Token(account))

    # --- folding ---------------------------------------------------------------------------------------------------

    def _open(self, name: Token, event: AccountOpened) -> None:
        self._accounts[name] = Account(account=name, opened_at_ms=event.at_ms, by=event.by)
        if event.owner is not None:
            self._join(self._accounts[name], event.owner, "owner", event.at_ms)

    def _change(self, account: Account, event: AccessEvent) -> None:
        match event:
            case MemberJoined():
                self._join(account, event.did, event.role, event.at_ms)
            case MemberLeft():
                self._leave(account, event.did)
            case KeyIssued():
                self._issue(account, event)
            case KeyRevoked():
                self._revoke(account, event)
            case AccountClosed():
                self._close(account, event)
            case AccountOpened() | AccountErased():
                pass

    def _join(self, account: Account, did: str, role: Role, at_ms: int) -> None:
        if not may_have_role(account.account, role):
            return
        before = account.member(did)
        self.losses += before is not None
        joined = Member(did=did, role=role, since_ms=at_ms if before is None else before.since_ms)
        others = tuple(member for member in account.members if member.did != did)
        self._accounts[account.account] = replace(account, members=(*others, joined))
        self._roles.setdefault(did, {})[account.account] = role

    def _leave(self, account: Account, did: str) -> None:
        self.losses += 1
        rest = tuple(member for member in account.members if member.did != did)
        self._accounts[account.account] = replace(account, members=rest)
        self._forget(account.account, did)

    def _issue(self, account: Account, event: KeyIssued) -> None:
        if event.key_id in self._keys:
            return
        self._keys[event.key_id] = ApiKey(
            key_id=event.key_id,
            account=account.account,
            digest=event.digest,
            name=event.name,
            rights=event.rights,
            models=event.models,
            tools=event.tools,
            limits=event.limits or NO_LIMITS,
            bounds=event.bounds or NO_BOUNDS,
            issued_at_ms=event.at_ms,
            expires_at_ms=event.expires_at_ms,
            by=event.by,
        )

    def _revoke(self, account: Account, event: KeyRevoked) -> None:
        key = self._keys.get(event.key_id)
        if key is None or key.account != account.account or key.revoked_at_ms is not None:
            return
        self.losses += 1
        self._keys[event.key_id] = replace(key, revoked_at_ms=event.at_ms, revoked_because=event.reason)

    def _close(self, account: Account, event: AccountClosed) -> None:
        if account.account == LOCAL:
            return
        self.losses += 1
        closed = replace(account, closed_at_ms=event.at_ms, closed_because=event.reason)
        self._accounts[account.account] = closed
        for member in account.members:
            self._forget(account.account, member.did)

    def _forget(self, account: Token, did: str) -> None:
        roles = self._roles.get(did, {})
        roles.pop(account, None)
        if not roles:
            self._roles.pop(did, None)
