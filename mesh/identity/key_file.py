"""Keys at rest: one JSON file for each, with the DID in clear and the secret sealed by a passphrase.

A node that starts unattended has nobody to ask, so its file may hold the secret as it is (``"kdf": "none"``). Either
way the file is for its owner alone (0600), and is written once and never over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from mesh.errors import CredentialsError, IdentityError, KeyFileError, WrongPassphrase
from mesh.identity.did import Did, did_key, parse_did
from mesh.identity.keys import SECRET_BYTES, Algorithm, PublicKey, SigningKey
from mesh.identity.sealing import Cost, Sealed, seal, unseal
from mesh.identity.subject_proof import is_key_of
from mesh.secret_file import read_secret, refuse_shared_folder, write_secret_once

if TYPE_CHECKING:
    from streams.tokens import Token

VERSION: Final = 1
DEVICE_KEYS: Final = Path("credentials") / "devices"
"""Where keys of devices lie, below the data folder."""

_DEFAULT_COST: Final = Cost()


class DeviceKey(NamedTuple):
    """A DID, and the key that signs for it."""

    did: Did
    key: SigningKey


class PublicPart(NamedTuple):
    """What a key file says to everybody who may read it."""

    did: Did
    public_key: PublicKey
    is_sealed: bool


class _Form(Struct, frozen=True, kw_only=True, tag_field="kdf", forbid_unknown_fields=True):
    """What both forms have. Field names are the file's: see docs/identity.md."""

    version: int
    did: str
    algorithm: Algorithm
    public_key: bytes

    def __repr__(self) -> str:
        """Name whose key it is and no secret: values end up in logs."""
        return f"{type(self).__name__}({self.did})"


class _SealedForm(_Form, frozen=True, kw_only=True, tag="argon2id", forbid_unknown_fields=True):
    sealed: Sealed


class _OpenForm(_Form, frozen=True, kw_only=True, tag="none", forbid_unknown_fields=True):
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class _Version(Struct, frozen=True):
    version: Annotated[int, Meta(ge=1)]


def write_key_file(path: Path, device: DeviceKey, passphrase: str | None, *, cost: Cost = _DEFAULT_COST) -> bool:
    """Write a key file, sealed unless ``passphrase`` is None; False: there is one already, which stays as it is.

    Raises:
        KeyFileError: if the key is not that of the DID, or there is not the memory for sealing it.
        WrongPassphrase: if the passphrase is empty or too long.
        CredentialsError: if the file cannot be written.
    """
    _check_belongs(path, device)
    content = msgspec.json.format(msgspec.json.encode(_form(device, passphrase, cost))) + b"\n"
    try:
        return write_secret_once(path, content)
    except OSError as error:
        raise CredentialsError(f"cannot write {path}: {error.strerror}") from error


def read_public_part(path: Path) -> PublicPart:
    """Read whose key a file holds, without its secret. What it says is checked only when it is opened.

    Raises:
        KeyFileError: if it is damaged, or written by a newer version.
        CredentialsError: if it cannot be read, or others can.
    """
    return _public_part(path, _read(path))


def open_key_file(path: Path, passphrase: str | None = None) -> DeviceKey:
    """Read a key. A passphrase for a file that is not sealed is not looked at.

    Raises:
        WrongPassphrase: if it is another, or there is none and the file is sealed.
        KeyFileError: if the file is damaged, holds another key than it says, or was written by a newer version.
        CredentialsError: if it cannot be read, or others can.
    """
    form = _read(path)
    said = _public_part(path, form)
    try:
        key = SigningKey.from_secret(said.public_key.algorithm, _secret(form, passphrase))
    except WrongPassphrase as error:
        raise WrongPassphrase(f"{path} stays closed: {error}") from None
    except IdentityError as error:
        raise KeyFileError(f"{path} cannot be opened: {error}") from None
    device = DeviceKey(said.did, key)
    if key.public != said.public_key:
        raise KeyFileError(f"{path} holds another key than it says: restore it from a copy")
    _check_belongs(path, device)
    return device


def device_key(data_dir: Path, node_id: Token, passphrase: str | None = None) -> DeviceKey:
    """Return the key of a device, made at the first call: a `did:key` of ed25519, not sealed.

    It lies at ``credentials/devices/<node id>.key`` below the data folder. Any key file may be put there instead.

    Raises:
        WrongPassphrase: if the file there is sealed, and not by this passphrase.
        KeyFileError: if it is damaged.
        CredentialsError: if file or folder cannot be used, or are open to others.
    """
    folder = data_dir / DEVICE_KEYS
    path = folder / f"{node_id}.key"
    if not path.exists():
        key = SigningKey.generate("ed25519")
        # Where another process was faster, its key is the one that holds.
        write_key_file(path, DeviceKey(did_key(key.public), key), passphrase)
    refuse_shared_folder(folder)
    return open_key_file(path, passphrase)


def _form(device: DeviceKey, passphrase: str | None, cost: Cost) -> _SealedForm | _OpenForm:
    key, did = device.key, device.did.text
    public = key.public
    if passphrase is None:
        return _OpenForm(version=VERSION, did=did, algorithm=public.algorithm, public_key=public.raw, secret=key.secret)
    sealed = seal(key.secret, passphrase, cost)
    return _SealedForm(version=VERSION, did=did, algorithm=public.algorithm, public_key=public.raw, sealed=sealed)


def _secret(form: _SealedForm | _OpenForm, passphrase: str | None) -> bytes:
    if isinstance(form, _OpenForm):
        return form.secret
    if passphrase is None:
        raise WrongPassphrase("it is sealed by a passphrase, and none was given")
    return unseal(form.sealed, passphrase)


def _read(path: Path) -> _SealedForm | _OpenForm:
    content = read_secret(path, if_missing="make one with `ig3 did create`")
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version > VERSION:
            raise KeyFileError(f"{path} was written by a newer version (format {version}): upgrade this process")
        return msgspec.json.decode(content, type=_SealedForm | _OpenForm)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is no key file, or damaged: {error}") from None


def _public_part(path: Path, form: _SealedForm | _OpenForm) -> PublicPart:
    try:
        key = PublicKey(form.algorithm, form.public_key)
        return PublicPart(parse_did(form.did), key, isinstance(form, _SealedForm))
    except IdentityError as error:
        raise KeyFileError(f"{path} is damaged: {error}") from error


def _check_belongs(path: Path, device: DeviceKey) -> None:
    if not is_key_of(device.did, device.key.public):
        raise KeyFileError(f"{path}: the key is not that of {device.did}")
