"""The fold of GROUPS: how a group stands, whatever order and however often its events come."""

from streams.groups.events import GroupDissolved, GroupEvent, GroupJoined, GroupProposed, GroupReady
from streams.groups.fold import KEPT_ENDED, Group, Groups, GroupState
from streams.groups.part import GroupPart
from streams.tokens import Token

G = Token("g1")
PROPOSED = GroupProposed(at_ms=1, leader="leader", model="big", memory_bytes=100, fingerprint="a", replaces="g0")
READY = GroupReady(
    at_ms=3,
    parts=(GroupPart(node="leader", layers=1, memory_bytes=1), GroupPart(node="a", layers=2, memory_bytes=2)),
)
DISSOLVED = GroupDissolved(at_ms=4, by="registry", reason="a is lost")


def joined(node: str) -> GroupJoined:
    return GroupJoined(at_ms=2, node=node, address="h:1", memory_bytes=50, fingerprint="b")


def fold(*events: GroupEvent) -> Groups:
    groups = Groups()
    for event in events:
        groups.apply(G, event)
    return groups


def group_of(*events: GroupEvent) -> Group:
    group = fold(*events).group(G)
    assert group is not None
    return group


def test_a_group_forms_serves_and_ends() -> None:
    forming = group_of(PROPOSED, joined("a"), joined("b"))
    assert (forming.state, forming.members, forming.replaces) == (GroupState.FORMING, ("leader", "a", "b"), "g0")
    ready = group_of(PROPOSED, joined("a"), joined("b"), READY)
    assert (ready.state, ready.members, ready.since_ms) == (GroupState.READY, ("leader", "a"), 3)
    over = group_of(PROPOSED, joined("a"), READY, DISSOLVED)
    assert (over.state, over.by, over.reason, over.since_ms) == (GroupState.DISSOLVED, "registry", "a is lost", 4)


def test_what_contradicts_the_log_is_passed_over() -> None:
    assert fold(joined("a"), READY, DISSOLVED).group(G) is None
    other = GroupProposed(at_ms=9, leader="other", model="x", memory_bytes=1, fingerprint="c")
    assert group_of(PROPOSED, other).leader == "leader"
    assert group_of(PROPOSED, joined("a"), joined("a")).members == ("leader", "a")
    assert group_of(PROPOSED, joined("leader")).members == ("leader",)
    assert group_of(PROPOSED, READY).state is GroupState.FORMING, "one of the parts is held by nobody who joined"
    ready = group_of(PROPOSED, joined("a"), READY)
    assert group_of(PROPOSED, joined("a"), READY, joined("c"), READY) == ready
    over = group_of(PROPOSED, DISSOLVED)
    assert group_of(PROPOSED, DISSOLVED, joined("a"), READY, GroupDissolved(at_ms=9, by="x", reason="y")) == over


def test_only_an_open_group_needs_its_nodes() -> None:
    serving = fold(PROPOSED, joined("a"), joined("b"), READY)
    assert [group.group for group in serving.open_with("leader")] == [G]
    assert [group.group for group in serving.open_with("a")] == [G]
    assert serving.open_with("b") == (), "it was not needed"
    assert fold(PROPOSED, joined("a"), READY, DISSOLVED).open_with("a") == ()
    assert len(serving.all()) == 1


def test_of_those_that_have_ended_only_the_latest_are_remembered_and_a_state_loaded_forgets_alike() -> None:
    kept, loaded = Groups(), Groups()
    names = [Token(f"e{number}") for number in range(KEPT_ENDED + 3)]
    kept.apply(G, PROPOSED)
    for name in names:
        kept.apply(name, PROPOSED)
    for name in reversed(names[3:]):
        kept.apply(name, DISSOLVED)
    loaded.load(kept.dump())
    assert kept.group(names[-1]) is not None, "there is room for it still"
    for groups in (kept, loaded):
        for name in names[:3]:
            groups.apply(name, DISSOLVED)
        assert [groups.group(name) for name in names[-3:]] == [None] * 3, "they were the first to end"
        assert [group.group for group in groups.all()] == [G, *names[:-3]]
        assert [group.group for group in groups.open_with("leader")] == [G]
    assert loaded.dump() == kept.dump()
