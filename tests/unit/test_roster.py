"""The roster: a fold of events and reports, asked with a clock."""

from streams.devices.replica import Replica, Tier
from streams.devices.roster import Roster
from streams.events import DeviceLost, DeviceReturned, ModelAnnounced, ModelWithdrawn
from streams.messages import NodeStatus
from streams.tokens import Token

N1, N2 = Token("n1"), Token("n2")


def announced(node: Token, model: str = "m", *, context: int = 100, at_ms: int = 1) -> ModelAnnounced:
    replica = Replica(model=model, engine="e", context_tokens=context, slots=2)
    return ModelAnnounced(at_ms=at_ms, node=node, replica=replica)


def report() -> NodeStatus:
    return NodeStatus(at_ms=1, interval_s=2.0)


def test_an_announced_node_serves_once_it_reports_and_until_it_falls_silent():
    roster = Roster()
    roster.apply_model(N1, announced(N1))

    assert roster.model("m", now_s=0) is None
    roster.apply_status(N1, report(), now_s=0)
    assert roster.model("m", now_s=4.9) is not None
    assert roster.model("m", now_s=5.1) is None
    assert roster.silent(now_s=5.1) == (N1,)
    assert roster.knows("m")


def test_a_lost_node_stays_lost_until_the_log_says_that_it_returned():
    roster = Roster()
    roster.apply_model(N1, announced(N1))
    roster.apply_device(N1, DeviceLost(at_ms=2, node=N1, reason="silent"))
    roster.apply_status(N1, report(), now_s=0)

    assert roster.models(now_s=0) == ()
    assert roster.silent(now_s=100) == ()
    roster.apply_device(N1, DeviceReturned(at_ms=3, node=N1))
    assert [view.model for view in roster.models(now_s=0)] == ["m"]


def test_a_model_shows_its_live_nodes_and_its_widest_context():
    roster = Roster()
    for node, context, at_ms in ((N1, 100, 5), (N2, 400, 9)):
        roster.apply_model(node, announced(node, context=context, at_ms=at_ms))
        roster.apply_status(node, report(), now_s=0)

    view = roster.model("m", now_s=0)

    assert view is not None
    assert (view.nodes, view.context_tokens, view.created_ms) == ((N1, N2), 400, 5)


def test_what_is_withdrawn_is_no_longer_served_but_still_known():
    roster = Roster()
    roster.apply_model(N1, announced(N1))
    roster.apply_status(N1, report(), now_s=0)
    roster.apply_model(N1, ModelWithdrawn(at_ms=2, node=N1, model="m", reason="gone"))

    assert roster.serving("m", now_s=0) == ()
    assert roster.knows("m")
    assert not roster.knows("other")


def test_a_model_has_the_tiers_and_slots_of_all_its_live_replicas_the_nearest_tier_first():
    roster = Roster()
    tiers: dict[Token, Tier] = {N1: "cloud", Token("n2"): "edge", Token("n3"): "group"}
    for node, tier in tiers.items():
        replica = Replica(model="m", engine="e", context_tokens=8, slots=2, tier=tier)
        roster.apply_model(node, ModelAnnounced(at_ms=1, node=node, replica=replica))
        if tier != "group":  # silent
            roster.apply_status(node, NodeStatus(at_ms=1, interval_s=1), now_s=0)
    view = roster.model("m", now_s=1)
    assert view is not None
    assert (view.tiers, view.slots, len(view.nodes)) == (("edge", "cloud"), 4, 2)
