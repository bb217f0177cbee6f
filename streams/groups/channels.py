"""Who sends what where about shard groups: a part of ``streams.channels``."""

from __future__ import annotations

from typing import Final, get_args

from streams import topology
from streams.channel import Channel, Reply, Sender
from streams.groups.events import GroupEvent
from streams.groups.messages import GroupAnswer, GroupJoins, GroupOrder, GroupRequest
from streams.messages import Refusal

GROUP_CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        name="groups",
        address="groups.{group}",
        account="CORE",
        description="Where events about a shard group stand.",
        senders=(Sender("service", get_args(GroupEvent)),),
        receivers=("service",),
        stream=topology.GROUPS,
    ),
    Channel(
        name="group_orders",
        address="node.{node}.group",
        account="EDGE",
        description="Where a node is asked into a shard group, and told that it is over.",
        senders=(Sender("service", get_args(GroupOrder)),),
        receivers=("node",),
        reply=Reply("service_inbox", (GroupJoins,)),
    ),
    Channel(
        name="group",
        address="api.node.{node}.group",
        account="EDGE",
        description="Where a node asks for a shard group, and says what becomes of one.",
        senders=(Sender("node", get_args(GroupRequest)),),
        receivers=("service",),
        reply=Reply("node_inbox", (GroupAnswer, Refusal)),
    ),
    Channel(
        name="service_inbox",
        address="_INBOX.svc.{reply}",
        account="EDGE",
        description="Where services receive replies; a node is lent the right to answer there with each question.",
        senders=(Sender("node", (GroupJoins,)),),
        receivers=("service",),
    ),
)
"""Every channel about groups."""
