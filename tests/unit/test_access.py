"""Who may speak for an account, as a fold: order, what does not fit, and the same state out of a dump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.access.events import (
    AccessEvent,
    AccountClosed,
    AccountErased,
    AccountOpened,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
    Role,
)
from streams.access.fold import LOCAL, RIGHTS, Access, Membership, may_have_role
from streams.access.limits import NO_LIMITS, Limits
from streams.errors import UndecodableEvent
from streams.tokens import Token

ADA, BOB = "did:key:z6Ada", "did:key:z6Bob"
ACME, BETA = Token("acme"), Token("beta")
OPENED = AccountOpened(at_ms=1, by="operator")
CLOSED = AccountClosed(at_ms=9, by="operator", reason="over")
ERASED = AccountErased(at_ms=12, by="operator", reason="asked for", messages=3)
ROLES: tuple[Role, ...] = ("owner", "member", "viewer", "operator")

NAMES = st.sampled_from([ACME, BETA, LOCAL])
DIDS = st.sampled_from([ADA, BOB])
KEY_IDS = st.sampled_from(["k1", "k2"])
TIMES = st.integers(0, 99)
EVENTS: st.SearchStrategy[AccessEvent] = st.one_of(
    st.builds(AccountOpened, at_ms=TIMES, by=st.just("t"), owner=st.none() | DIDS),
    st.builds(MemberJoined, at_ms=TIMES, did=DIDS, role=st.sampled_from(ROLES), by=st.just("t")),
    st.builds(MemberLeft, at_ms=TIMES, did=DIDS, by=st.just("t")),
    st.builds(
        KeyIssued,
        at_ms=TIMES,
        key_id=KEY_IDS,
        digest=st.just("d"),
        name=st.just(""),
        rights=st.just(("chat",)),
        expires_at_ms=st.none() | TIMES,
        by=st.just("t"),
    ),
    st.builds(KeyRevoked, at_ms=TIMES, key_id=KEY_IDS, by=st.just("t"), reason=st.just("r")),
    st.builds(AccountClosed, at_ms=TIMES, by=st.just("t"), reason=st.just("r")),
    st.builds(AccountErased, at_ms=TIMES, by=st.just("t"), reason=st.just("r")),
)
HISTORIES = st.lists(st.tuples(NAMES, EVENTS), max_size=40)


def fold(*history: tuple[Token, AccessEvent]) -> Access:
    access = Access()
    for account, event in history:
        access.apply(account, event)
    return access


def issued(key_id: str = "k1", *, digest: str = "d", expires_at_ms: int | None = None) -> KeyIssued:
    return KeyIssued(
        at_ms=2, key_id=key_id, digest=digest, name="n", rights=("chat",), expires_at_ms=expires_at_ms, by="operator"
    )


def joined(did: str = ADA, role: Role = "member", at_ms: int = 3) -> MemberJoined:
    return MemberJoined(at_ms=at_ms, did=did, role=role, by="operator")


def test_a_key_has_the_limits_that_it_was_issued_with() -> None:
    limits = Limits(requests_per_minute=5)
    access = fold((ACME, OPENED), (ACME, replace(issued("k1"), limits=limits)), (ACME, issued("k2")))
    found = access.key("k1"), access.key("k2")
    assert [key and key.limits for key in found] == [limits, NO_LIMITS]


def test_an_account_is_opened_with_its_first_owner() -> None:
    access = fold((ACME, AccountOpened(at_ms=1, by=ADA, owner=ADA)))
    assert access.role(ACME, ADA) == "owner"
    assert access.memberships(ADA) == (Membership(account=ACME, role="owner"),)
    assert access.role(ACME, BOB) is None


def test_the_operators_account_is_there_from_the_beginning_and_stays() -> None:
    access = fold((LOCAL, CLOSED), (LOCAL, joined(role="operator")))
    local = access.account(LOCAL)
    assert local is not None
    assert local.is_open
    assert access.role(LOCAL, ADA) == "operator"


@pytest.mark.parametrize("role", ROLES)
def test_operators_are_of_the_account_local_and_owners_of_all_others(role: Role) -> None:
    access = fold((ACME, OPENED), (ACME, joined(role=role)), (LOCAL, joined(role=role)))
    assert access.role(ACME, ADA) == (None if role == "operator" else role)
    assert access.role(LOCAL, ADA) == (None if role == "owner" else role)


def test_joining_again_changes_the_role_and_leaving_takes_it() -> None:
    history = [(ACME, OPENED), (ACME, joined(role="viewer", at_ms=3)), (ACME, joined(role="owner", at_ms=4))]
    account = fold(*history).account(ACME)
    assert account is not None
    assert [(member.role, member.since_ms) for member in account.members] == [("owner", 3)]
    left = fold(*history, (ACME, MemberLeft(at_ms=5, did=ADA, by=BOB)))
    assert left.memberships(ADA) == ()


def test_nothing_counts_before_the_opening_or_behind_the_closing() -> None:
    before = fold((ACME, joined()), (ACME, issued()), (ACME, OPENED))
    assert (before.role(ACME, ADA), before.key("k1")) == (None, None)
    behind = fold((ACME, OPENED), (ACME, joined()), (ACME, CLOSED), (ACME, issued()), (ACME, OPENED), (ACME, joined()))
    assert (behind.role(ACME, ADA), behind.key("k1")) == (None, None)
    account = behind.account(ACME)
    assert account is not None
    assert (account.is_open, account.closed_because, [member.did for member in account.members]) == (
        False,
        "over",
        [ADA],
    )


def test_a_key_is_good_until_it_ends_or_is_revoked() -> None:
    key = fold((ACME, OPENED), (ACME, issued(expires_at_ms=50))).key("k1")
    assert key is not None
    assert key.is_good(now_ms=49)
    assert not key.is_good(now_ms=50)
    revoked = fold((ACME, OPENED), (ACME, issued()), (ACME, KeyRevoked(at_ms=4, key_id="k1", by=ADA, reason="leaked")))
    key = revoked.key("k1")
    assert key is not None
    assert not key.is_good(now_ms=0)
    assert key.revoked_because == "leaked"


def test_another_account_neither_revokes_a_key_nor_takes_its_id() -> None:
    foreign = KeyRevoked(at_ms=4, key_id="k1", by=ADA, reason="no")
    access = fold((ACME, OPENED), (BETA, OPENED), (ACME, issued()), (BETA, foreign), (BETA, issued(digest="other")))
    key = access.key("k1")
    assert key is not None
    assert (key.account, key.digest, key.revoked_at_ms) == (ACME, "d", None)
    assert access.keys_of(BETA) == ()


def test_an_account_of_which_a_newer_version_wrote_is_told_apart() -> None:
    access = fold((ACME, OPENED))
    access.apply_unreadable(ACME, "key.suspended.v1")
    again = Access()
    again.load(access.dump())
    assert (again.unreadable(ACME), again.unreadable(LOCAL)) == ("key.suspended.v1", None)


def test_a_viewer_only_reads() -> None:
    assert RIGHTS["viewer"] == {"read"}
    assert RIGHTS["member"] == {"read", "chat"}


@pytest.mark.parametrize("history", [(ACME, OPENED), (LOCAL, OPENED)])
def test_the_content_of_an_account_may_be_erased_while_it_is_open(history: tuple[Token, AccessEvent]) -> None:
    access = fold(history, (history[0], ERASED))
    account = access.account(history[0])
    assert account is not None
    assert (account.erased_at_ms, account.is_open) == (12, True)


def test_the_content_of_an_account_may_be_erased_after_it_was_closed() -> None:
    account = fold((ACME, OPENED), (ACME, CLOSED), (ACME, ERASED)).account(ACME)
    assert account is not None
    assert (account.erased_at_ms, account.is_open) == (12, False)


def test_an_account_that_never_was_has_nothing_to_erase() -> None:
    assert fold((ACME, ERASED)).account(ACME) is None


@given(HISTORIES)
def test_a_dump_is_the_whole_state_wherever_it_is_taken(history: list[tuple[Token, AccessEvent]]) -> None:
    whole, resumed = fold(*history), fold(*history[: len(history) // 2])
    fresh = Access()
    fresh.load(resumed.dump())
    for account, event in history[len(history) // 2 :]:
        fresh.apply(account, event)
    assert fresh.dump() == whole.dump()
    assert [fresh.memberships(did) for did in (ADA, BOB)] == [whole.memberships(did) for did in (ADA, BOB)]


@given(HISTORIES)
def test_every_answer_agrees_with_the_accounts(history: list[tuple[Token, AccessEvent]]) -> None:
    access = fold(*history)
    said: dict[tuple[str, str], Role] = {
        (account.account, member.did): member.role
        for account in access.accounts()
        if account.is_open
        for member in account.members
    }
    told = {(one.account, did): one.role for did in (ADA, BOB) for one in access.memberships(did)}
    assert told == said
    assert all(may_have_role(Token(account), role) for (account, _), role in said.items())
    assert all(access.account(key.account) for name in (ACME, BETA, LOCAL) for key in access.keys_of(name))


@given(HISTORIES)
def test_accounts_do_not_touch_each_other(history: list[tuple[Token, AccessEvent]]) -> None:
    # Key ids are of all accounts together, so only members are compared.
    alone = fold(*(one for one in history if one[0] == ACME)).account(ACME)
    assert fold(*history).account(ACME) == alone


def test_bytes_that_are_no_state_are_refused_and_change_nothing() -> None:
    access = fold((ACME, OPENED))
    before = access.dump()
    with pytest.raises(UndecodableEvent):
        access.load(b"\x81\xa1a\x01")
    assert access.dump() == before
