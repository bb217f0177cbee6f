"""Where a client finds its mesh, and as whom: what was given, completed by the settings of the process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final, TypedDict, Unpack

from msgspec import Struct

from mesh.broker.credentials import Credentials
from mesh.client.key_login import KeyLogin, key_login
from mesh.config.settings import MeshSettings, resolve
from mesh.config.sources import Sources
from mesh.tls.contexts import ClientTls
from streams.tokens import Token, token

PATIENCE: Final = timedelta(minutes=1)
"""How long the client goes on asking a mesh that does not answer."""


class ClientOptions(Struct, frozen=True, kw_only=True):
    """Where the mesh is and who we are."""

    servers: tuple[str, ...]
    tls: ClientTls = ClientTls()
    account: Token
    seed_file: Path | None = None
    """The operator's own user, who the broker knows by itself."""
    login: KeyLogin | None = None
    """Anybody else: an API key or a session, which the broker asks the identity service about."""
    patience: timedelta = PATIENCE


class ConnectOptions(TypedDict, total=False):
    """What ``connect`` and ``connect_sync`` take by name, all optional; what is left out the settings say."""

    account: str | None
    """Whose tasks to send and read."""
    seed_file: str | Path | None
    """The user's nkey seed; ``<data_dir>/credentials/user.nk`` if neither this nor a key is given."""
    api_key: str | None
    """A key of the account (``ig3_…``), or a session's token; the setting ``api_key_file`` names a file with one."""
    data_dir: str | Path | None
    """The mesh's data folder, where it runs on this machine."""
    patience: timedelta
    """How long to go on asking a mesh that does not answer."""


def client_options(servers: str | None = None, **options: Unpack[ConnectOptions]) -> ClientOptions:
    """Complete what was given by the settings of this process.

    Raises:
        SettingsError: if one of these cannot be used.
        CredentialsError: if the seed file is missing or open to others.
    """
    data_dir, seed_file = options.get("data_dir"), options.get("seed_file")
    folder = None if data_dir is None else str(data_dir)
    given = {"nats": servers, "account": options.get("account"), "data_dir": folder}
    mesh = resolve(MeshSettings, "mesh", flags=given, sources=Sources.read()).value
    return options_of(
        mesh,
        seed_file=None if seed_file is None else Path(seed_file),
        api_key=options.get("api_key"),
        patience=options.get("patience", PATIENCE),
    )


def options_of(
    mesh: MeshSettings, *, seed_file: Path | None = None, api_key: str | None = None, patience: timedelta = PATIENCE
) -> ClientOptions:
    """Say how a user's client connects to the mesh of these settings.

    Raises:
        CredentialsError: if the seed or key file is missing or open to others.
    """
    login = None if seed_file is not None else key_login(api_key, mesh.api_key_file)
    if login is None and seed_file is None:
        seed_file = Credentials.load_one(mesh.data_dir, "user").seed_path
    return ClientOptions(
        servers=mesh.nats_urls,
        tls=mesh.nats_tls,
        account=token(mesh.account),
        seed_file=seed_file,
        login=login,
        patience=patience,
    )
