"""Who writes what where about vector stores, and who searches them: a part of ``streams.channels``."""

from __future__ import annotations

from typing import Final, get_args

from streams import topology
from streams.channel import Channel, Sender
from streams.stores.events import StoreEvent
from streams.stores.messages import RETRIEVAL_MESSAGES
from streams.stores.passages import PassageBatch
from streams.stores.subjects import SEARCH

STORE_PARAMETERS: Final[dict[str, str]] = {
    "store": "The id of a vector store.",
    "generation": "Which asking for a file's passages: a sequence in STORES, in 16 digits.",
    "part": "Which batch of a file's passages, from 0, in 6 digits.",
}

STORE_CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        name="vector_stores",
        address="stores.{account}.{store}",
        account="CORE",
        description="Where the events of a vector store stand.",
        senders=(Sender("service", get_args(StoreEvent)),),
        receivers=("service",),
        stream=topology.STORES,
    ),
    Channel(
        name="passages",
        address="passages.{account}.{store}.{file}.{generation}.{part}",
        account="CORE",
        description="Where the passages of a file are, with their vectors.",
        senders=(Sender("service", (PassageBatch,)),),
        receivers=("service",),
        stream=topology.PASSAGES,
    ),
    Channel(
        name="search",
        address=SEARCH,
        account="CORE",
        description="Where vector stores are searched. One retrieval process answers in the asker's inbox.",
        senders=(Sender("service", RETRIEVAL_MESSAGES),),
        receivers=("service",),
    ),
)
"""Every channel about vector stores."""
