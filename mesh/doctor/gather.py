"""Gathering all facts of an installation: its settings, its data folder, what runs, and this machine."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from mesh.config.fields import fields_of
from mesh.doctor import gather_files, gather_machine
from mesh.doctor.facts import Facts, SettingsFact, UrlFact
from mesh.doctor.gather_bus import ask_broker, ask_identity
from mesh.doctor.gather_lines import certificates, listeners

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec import Struct

    from mesh.doctor.installation import Installation

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss", "redis", "rediss", "unix"})


async def gather(installation: Installation) -> Facts:
    """Look at everything; nothing is changed."""
    mesh = installation.mesh
    broker, identity = await asyncio.gather(ask_broker(mesh), ask_identity(mesh))
    return Facts(
        now=datetime.now(UTC),
        settings=_settings(installation),
        listeners=listeners(installation),
        files=gather_files.secret_files(mesh.data_dir, mesh.server_dir),
        keys=gather_files.device_keys(mesh.data_dir),
        certificates=tuple(certificates(installation)),
        urls=tuple(_urls(installation.sections)),
        broker=broker,
        identity=identity,
        disk=gather_files.disk(mesh.data_dir),
        processes=gather_machine.telling_processes(),
        server_version=gather_machine.server_version(),
    )


def _settings(installation: Installation) -> SettingsFact:
    mesh, sources = installation.mesh, installation.sources
    fields = [field for name, section in installation.sections.items() for field in fields_of(type(section), name)]
    secret = {(field.section, field.key) for field in fields if field.secret}
    told = any((section, key) in secret for section, table in sources.tables.items() for key in table)
    return SettingsFact(
        admission=installation.devices.admission,
        durability=mesh.durability,
        encrypt_store=mesh.encrypt_store,
        secrets_in_variables=gather_machine.telling_variables(os.environ, fields),
        secrets_file=gather_files.file_fact(sources.file) if told and sources.file is not None else None,
    )


def _urls(sections: Mapping[str, Struct]) -> Iterator[UrlFact]:
    for name, section in sections.items():
        for field in fields_of(type(section), name):
            value: object = getattr(section, field.key)
            for text in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
                url = urlsplit(text) if isinstance(text, str) and "://" in text else None
                if url is not None and url.scheme in _SCHEMES and url.hostname and field.key != "http_origins":
                    yield UrlFact(setting=field.key, scheme=url.scheme, host=url.hostname)
