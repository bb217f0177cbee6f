"""Who writes what where about users' files and batches: a part of ``streams.channels``."""

from __future__ import annotations

from typing import Final, get_args

from streams import topology
from streams.batches.events import BatchEvent
from streams.channel import Channel, Sender
from streams.files.events import FileEvent, FilePart

FILE_PARAMETERS: Final[dict[str, str]] = {
    "file": "The id of a user's file.",
    "number": "Which part of the file, from 0.",
    "batch": "The id of a batch.",
}

FILE_CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        name="files",
        address="files.{account}.{file}",
        account="CORE",
        description="Where it stands what a user's file is.",
        senders=(Sender("service", get_args(FileEvent)),),
        receivers=("service",),
        stream=topology.FILES,
    ),
    Channel(
        name="file_parts",
        address="parts.{account}.{file}.{number}",
        account="CORE",
        description="Where the bytes of a user's file are.",
        senders=(Sender("service", (FilePart,)),),
        receivers=("service",),
        stream=topology.FILE_PARTS,
    ),
    Channel(
        name="batches",
        address="batches.{account}.{batch}",
        account="CORE",
        description="Where events about a batch stand.",
        senders=(Sender("service", get_args(BatchEvent)),),
        receivers=("service",),
        stream=topology.BATCHES,
    ),
)
"""Every channel about files and batches."""
