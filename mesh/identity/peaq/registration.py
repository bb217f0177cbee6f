"""Writing a document to the chain: the extrinsic ``add_attribute`` or ``update_attribute``, seen through to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from mesh.errors import ChainUnavailable, RegistrationRefused
from mesh.identity import ss58
from mesh.identity.accounts import substrate_account
from mesh.identity.peaq.connection import Connection, shown_endpoint, translated
from mesh.identity.peaq.place import Place

if TYPE_CHECKING:
    from mesh.identity.keys import Algorithm, SigningKey
    from mesh.identity.peaq.options import ChainOptions

Call = Literal["add_attribute", "update_attribute"]

FINALISED_WITHIN_S: Final = 180.0
"""How long a written document may take to be final; it was a minute at worst on peaq's chains."""

_MORTAL_BLOCKS: Final = 64
_SCHEMES: Final[dict[Algorithm, int]] = {"ed25519": 0, "sr25519": 1, "secp256k1": 2}
"""Numbers of the signature schemes in Substrate's `MultiSignature`."""


class Written(NamedTuple):
    """What was done to the chain. The block is final."""

    call: Call
    block: str
    endpoint: str


class _Payer:
    """A key as substrate-interface wants it. Its own pairs sign ECDSA in Ethereum's way, which the chain refuses."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        account = substrate_account(key.public)
        self.public_key = account.account
        self.ss58_address = ss58.encode(account.account)
        self.crypto_type = _SCHEMES[key.public.algorithm]

    def sign(self, payload: Any) -> bytes:
        """Sign the payload of an extrinsic."""
        return self._key.sign(bytes(payload.data))


def write_document(
    options: ChainOptions, place: Place, value: bytes, *, payer: SigningKey, valid_for: int | None = None
) -> Written:
    """Write a value at the first name of a place, pay for it, and wait until it is final. Blocks for a minute or so.

    Args:
        options: the chain; the first endpoint that can be used is used.
        place: whose attribute, and its name.
        value: what is written.
        payer: who signs and pays the fee, and may update it later; need not be the subject.
        valid_for: for how many blocks it shall hold; None: for good.

    Raises:
        ChainUnavailable: if no endpoint can be used, or it fails on the way: look whether it was written.
        RegistrationRefused: if the chain refuses it.
    """
    problems: list[str] = []
    connection = Connection(options)
    for endpoint in options.endpoints:
        try:
            connection.open(endpoint)
        except ChainUnavailable as error:
            connection.close()
            problems.append(f"{shown_endpoint(endpoint)}: {error}")
            continue
        try:
            call, block = _write(connection, place, value, _Payer(payer), valid_for)
            return Written(call, block, shown_endpoint(endpoint))
        finally:
            connection.close()
    raise ChainUnavailable(f"no endpoint of the chain can be used ({'; '.join(problems)})")


def _write(
    connection: Connection, place: Place, value: bytes, payer: _Payer, valid_for: int | None
) -> tuple[Call, str]:
    place = Place(place.account, place.names[:1])
    call: Call = "add_attribute" if connection.read(place).entry is None else "update_attribute"
    arguments = {
        "did_account": f"0x{place.account.hex()}",
        "name": place.names[0].encode(),
        "value": value,
        "valid_for": valid_for,
    }
    connection.be_patient(FINALISED_WITHIN_S)
    with translated(), connection.deadline(FINALISED_WITHIN_S):
        receipt = _submit(connection, call, arguments, payer)
        block = str(receipt.block_hash)
        entry = connection.entry_at(place, block)
        if _is_refused(receipt) or entry is None or entry.value != value:
            raise RegistrationRefused(_why(_reason(receipt), payer))
    return call, block


def _submit(connection: Connection, call: Call, arguments: dict[str, Any], payer: _Payer) -> Any:
    node = connection.node
    composed = node.compose_call("PeaqDid", call, arguments, connection.head().block)
    # Asked for by name: the library would ask the runtime, which does not count what waits in the pool.
    nonce = int(node.rpc_request("system_accountNextIndex", [payer.ss58_address])["result"])
    extrinsic = node.create_signed_extrinsic(composed, payer, {"period": _MORTAL_BLOCKS}, nonce)
    return node.submit_extrinsic(extrinsic, wait_for_finalization=True)


def _is_refused(receipt: Any) -> bool:
    """Whether the events of the block say so. If they cannot be read, what stands in the block decides alone."""
    try:
        return receipt.is_success is False
    except Exception:
        # To find the events the library decodes the whole block, other people's extrinsics too.
        return False


def _reason(receipt: Any) -> str:
    try:
        return str(receipt.error_message["name"])
    except Exception:
        return ""


def _why(reason: str, payer: _Payer) -> str:
    told = {
        "": "it says no reason that can be read",
        "AttributeAuthorizationFailed": "somebody wrote this attribute before, and alone may change it; "
        f"it was not {payer.ss58_address}, who signed now",
        "AttributeAlreadyExist": "somebody wrote this attribute in the meantime: try again to change it",
    }
    return f"the chain did not take the document: {told.get(reason, reason)}"
