"""Signing in over HTTP: with Ethereum, with a Substrate wallet, with a DID; and all that must not sign anybody in."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse

from gateway.auth import sign_in as signing_in
from gateway.auth.challenge import NONCE_MS
from gateway.auth.siwe import SiweMessage, write_siwe
from mesh.access.people import person
from mesh.access.session_keys import SESSION_S
from mesh.access.writer import AccessWriter
from mesh.identity import ss58
from mesh.identity.accounts import EvmAccount, evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq, did_pkh
from mesh.identity.evm import parse_address, sign_personal
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.subject_proof import prove
from streams.clock import now_ms
from streams.tokens import Token
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

ACME = Token("acme")
ETHEREUM = SigningKey("secp256k1", bytes(range(1, 33)))
WALLET = SigningKey("sr25519", bytes(range(2, 34)))
DEVICE = SigningKey("ed25519", bytes(range(3, 35)))
EVM: EvmAccount = evm_account(ETHEREUM.public)
Json = dict[str, Any]


class Entrance:
    """A gateway that asks for credentials, and how one signs in there."""

    def __init__(self, mesh: InProcessMesh, gateway: HttpGateway) -> None:
        self.mesh = mesh
        self.gateway = gateway
        self.writer = AccessWriter(mesh.bus.core)
        self.domain = gateway.url.removeprefix("http://")

    async def admit(self, did: Did, role: Any = "member", account: Token = ACME) -> None:
        await self.gateway.access.reach(await self.writer.join(account, person(did), role))

    async def challenge(self, **body: object) -> Json:
        response = await self.gateway.post("/v1/auth/challenge", body)
        assert response.status == 200, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()

    async def login(self, **body: object) -> ClientResponse:
        return await self.gateway.post("/v1/auth/login", body)

    async def refused(self, **body: object) -> tuple[int, str]:
        response = await self.login(**body)
        assert response.status >= 400
        return response.status, (await response.json())["error"]["code"]

    async def siwe(self, **fields: Any) -> str:
        """A message with a fresh nonce, right but for ``fields``."""
        challenge = await self.challenge(method="ethereum", address=str(EVM))
        usual: Json = {
            "domain": self.domain,
            "address": EVM.address,
            "uri": self.gateway.url,
            "chain_id": 1,
            "nonce": challenge["nonce"],
            "issued_at_ms": now_ms(),
        }
        return write_siwe(SiweMessage(**usual | fields))

    async def me(self, token: str) -> Json:
        response = await self.gateway.get("/v1/auth/me", Authorization=f"Bearer {token}")
        assert response.status == 200, await response.text()
        return await response.json()


@pytest.fixture
async def mesh(tmp_path: Any) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        await AccessWriter(running.bus.core).open(ACME)
        yield running


@pytest.fixture
async def entrance(mesh: InProcessMesh) -> AsyncIterator[Entrance]:
    async with serve_http(mesh.bus, auth="required") as gateway:
        yield Entrance(mesh, gateway)


def signed(message: str, key: SigningKey = ETHEREUM) -> Json:
    return {"method": "ethereum", "message": message, "signature": f"0x{sign_personal(key, message.encode()).hex()}"}


async def test_an_ethereum_wallet_signs_in(entrance: Entrance) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:3338"))
    challenge = await entrance.challenge(method="ethereum", address=str(EVM), chain_id=1)
    assert challenge["domain"] == entrance.domain
    assert challenge["message"].startswith(f"{entrance.domain} wants you to sign in with your Ethereum account:\n{EVM}")
    response = await entrance.login(**signed(challenge["message"]))
    session = await response.json()
    assert (response.status, session["token_type"], session["expires_in"]) == (200, "Bearer", SESSION_S)
    assert (session["account"], session["role"]) == ("acme", "member")
    assert session["accounts"] == [{"account": "acme", "role": "member"}]
    me = await entrance.me(session["token"])
    assert (me["how"], me["did"], me["account"]) == ("session", f"did:pkh:eip155:1:{EVM}", "acme")
    assert me["rights"] == ["chat", "read"]


@pytest.mark.parametrize("algorithm", ["sr25519", "ed25519", "secp256k1"])
@pytest.mark.parametrize("wrap", ["%s", "<Bytes>%s</Bytes>"], ids=["raw", "wrapped"])
async def test_a_substrate_wallet_signs_in(entrance: Entrance, algorithm: Algorithm, wrap: str) -> None:
    key = SigningKey(algorithm, bytes(range(2, 34)))
    account = substrate_account(key.public)
    await entrance.admit(did_peaq(account))
    address = ss58.encode(account.account, 0)  # as Polkadot writes it
    challenge = await entrance.challenge(method="substrate", address=address)
    signature = key.sign((wrap % challenge["message"]).encode())
    body: Json = {
        "method": "substrate",
        "address": address,
        "algorithm": algorithm,
        "nonce": challenge["nonce"],
        "signature": signature.hex(),
    }
    if algorithm == "secp256k1":
        body["public_key"] = f"0x{key.public.raw.hex()}"
    session = await (await entrance.login(**body)).json()
    assert (await entrance.me(session["token"]))["did"] == f"did:peaq:{account}"


@pytest.mark.parametrize("did", ["key", "pkh", "peaq", "peaq-evm"])
async def test_a_did_signs_in(entrance: Entrance, did: str) -> None:
    key, named = {
        "key": (DEVICE, did_key(DEVICE.public)),
        "pkh": (ETHEREUM, did_pkh(EVM, "eip155:1")),
        "peaq": (WALLET, did_peaq(substrate_account(WALLET.public))),
        "peaq-evm": (ETHEREUM, did_peaq(EVM)),
    }[did]
    await entrance.admit(named, "viewer")
    challenge = await entrance.challenge(method="did", did=named.text)
    proof = prove(named, key, challenge["message"].encode())
    session = await (
        await entrance.login(
            method="did",
            did=named.text,
            algorithm=proof.algorithm,
            nonce=challenge["nonce"],
            signature=proof.signature.hex(),
        )
    ).json()
    assert (session["did"], session["role"]) == (person(named), "viewer")


async def test_a_nonce_is_good_for_one_try_at_all_gateways_together(entrance: Entrance) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    body = signed(await entrance.siwe())
    assert (await entrance.login(**body)).status == 200
    assert await entrance.refused(**body) == (401, "nonce_spent")
    # Also where the first try came to nothing, and at another gateway.
    message = await entrance.siwe()
    forged = signed(message, SigningKey("secp256k1", bytes(range(9, 41))))
    assert await entrance.refused(**forged) == (401, "invalid_signature")
    other_bus = await entrance.mesh.new_bus("other")
    async with serve_http(other_bus, auth="required", sign_in_domains=(entrance.domain,)) as other:
        assert await Entrance(entrance.mesh, other).refused(**signed(message)) == (401, "nonce_spent")
        fresh = await entrance.siwe()
        assert (await Entrance(entrance.mesh, other).login(**signed(fresh))).status == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"domain": "evil.example"}, "foreign_domain"),
        ({"domain": "127.0.0.1"}, "foreign_domain"),
        ({"domain": "127.0.0.1:1"}, "foreign_domain"),
        ({"domain": "6.6.6.6:8080"}, "foreign_domain"),
        ({"uri": "https://evil.example/login"}, "foreign_domain"),
        ({"uri": "did:key:z6Mk"}, "foreign_domain"),
        ({"scheme": "https"}, "foreign_domain"),
        ({"nonce": "a" * 8}, "unknown_nonce"),
        ({"nonce": "0" * 76}, "unknown_nonce"),
        ({"issued_at_ms": 0}, "message_not_valid_now"),
        ({"issued_at_ms": 4_000_000_000_000}, "message_not_valid_now"),
        ({"expires_at_ms": 1}, "message_not_valid_now"),
        ({"not_before_ms": 4_000_000_000_000}, "message_not_valid_now"),
        ({"address": bytes(20)}, "invalid_signature"),
    ],
    ids=str,
)
async def test_a_message_that_is_not_for_us_or_not_for_now_signs_nobody_in(
    entrance: Entrance, fields: Json, code: str
) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    status, said = await entrance.refused(**signed(await entrance.siwe(**fields)))
    assert said == code
    assert status == (403 if code == "foreign_domain" else 401)


async def test_a_name_in_the_host_header_makes_no_domain_ours(entrance: Entrance) -> None:
    """A message that a page on 6.6.6.6 had signed, passed on with the header that fits."""
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    message = await entrance.siwe(domain="6.6.6.6", uri="http://6.6.6.6/")
    response = await entrance.gateway.post("/v1/auth/login", signed(message), Host="6.6.6.6")
    assert (response.status, (await response.json())["error"]["code"]) == (403, "foreign_domain")
    response = await entrance.gateway.post("/v1/auth/challenge", {"method": "did", "did": "d"}, Host="6.6.6.6")
    assert response.status in (400, 403)


async def test_a_nonce_that_was_altered_is_not_ours(entrance: Entrance) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    nonce = (await entrance.challenge(method="ethereum", address=str(EVM)))["nonce"]
    for place in (0, 35, 40, 75):
        other = "0" if nonce[place] != "0" else "1"
        message = await entrance.siwe(nonce=nonce[:place] + other + nonce[place + 1 :])
        assert await entrance.refused(**signed(message)) == (401, "unknown_nonce")
    assert await entrance.refused(**signed(await entrance.siwe(nonce=nonce.upper()))) == (401, "unknown_nonce")
    assert (await entrance.login(**signed(await entrance.siwe(nonce=nonce)))).status == 200


async def test_a_nonce_ends(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    body, later = signed(await entrance.siwe()), now_ms() + NONCE_MS
    monkeypatch.setattr(signing_in, "now_ms", lambda: later)
    assert await entrance.refused(**body) == (401, "expired_nonce")


@pytest.mark.parametrize("stated", ["ed25519", "secp256k1"])
async def test_a_key_is_of_the_kind_that_is_stated(entrance: Entrance, stated: str) -> None:
    account = substrate_account(WALLET.public)
    await entrance.admit(did_peaq(account))
    challenge = await entrance.challenge(method="substrate", address=str(account))
    signature = WALLET.sign(challenge["message"].encode()).hex()
    body = {"method": "substrate", "address": str(account), "nonce": challenge["nonce"], "signature": signature}
    assert await entrance.refused(**body, algorithm=stated) == (401, "invalid_signature")
    assert await entrance.refused(**body, algorithm="sr25519") == (401, "nonce_spent")


@pytest.mark.parametrize("other", ["did", "domain", "nonce", "text"])
async def test_a_signature_is_over_this_challenge(entrance: Entrance, other: str) -> None:
    did = did_key(DEVICE.public)
    await entrance.admit(did)
    challenge = await entrance.challenge(method="did", did=did.text)
    fresh = await entrance.challenge(method="did", did=did.text)
    text = {
        "did": challenge["message"].replace(did.text, did_key(WALLET.public).text),
        "domain": challenge["message"].replace(entrance.domain, "evil.example"),
        "nonce": fresh["message"],
        "text": f"{challenge['message']} ",
    }[other]
    body = {"method": "did", "did": did.text, "algorithm": "ed25519", "nonce": challenge["nonce"]}
    assert await entrance.refused(**body, signature=DEVICE.sign(text.encode()).hex()) == (401, "invalid_signature")


async def test_whoever_belongs_to_no_account_is_not_signed_in(entrance: Entrance) -> None:
    assert await entrance.refused(**signed(await entrance.siwe())) == (403, "not_a_member")
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    assert (await entrance.login(**signed(await entrance.siwe()))).status == 200
    await entrance.gateway.access.reach(await entrance.writer.leave(ACME, person(did_pkh(EVM, "eip155:1"))))
    assert await entrance.refused(**signed(await entrance.siwe())) == (403, "not_a_member")


async def test_a_session_ends_with_the_membership(entrance: Entrance) -> None:
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    session = await (await entrance.login(**signed(await entrance.siwe()))).json()
    await entrance.gateway.access.reach(await entrance.writer.leave(ACME, session["did"]))
    response = await entrance.gateway.get("/v1/models", Authorization=f"Bearer {session['token']}")
    assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")


async def test_of_several_accounts_the_one_that_is_named_is_spoken_for(entrance: Entrance) -> None:
    await entrance.writer.open(Token("beta"))
    await entrance.admit(did_pkh(EVM, "eip155:1"))
    await entrance.admit(did_pkh(EVM, "eip155:1"), "owner", Token("beta"))
    first = await (await entrance.login(**signed(await entrance.siwe()))).json()
    named = await (await entrance.login(**signed(await entrance.siwe()), account="beta")).json()
    assert [(one["account"], one["role"]) for one in (first, named)] == [("acme", "member"), ("beta", "owner")]
    assert [one["account"] for one in first["accounts"]] == ["acme", "beta"]
    assert await entrance.refused(**signed(await entrance.siwe()), account="gamma") == (403, "not_a_member")


async def test_where_sign_up_is_open_a_stranger_gets_an_account_once(mesh: InProcessMesh) -> None:
    other_bus = await mesh.new_bus("other")
    async with (
        serve_http(mesh.bus, auth="required", signup="open") as one,
        serve_http(other_bus, auth="required", signup="open") as other,
    ):
        entrances = [Entrance(mesh, one), Entrance(mesh, other)]
        sessions = [await (await each.login(**signed(await each.siwe()))).json() for each in entrances]
        assert {session["account"] for session in sessions} == {did_pkh(EVM, "eip155:1").fingerprint}
        assert [session["role"] for session in sessions] == ["owner", "owner"]
        # Who was put out of the account gets no second one.
        await other.access.reach(
            await entrances[1].writer.leave(Token(sessions[0]["account"]), person(did_pkh(EVM, "eip155:1")))
        )
        assert await entrances[1].refused(**signed(await entrances[1].siwe())) == (403, "not_a_member")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("challenge", {}, "missing_required_parameter"),
        ("challenge", {"method": "password"}, "invalid_value"),
        ("challenge", {"method": "ethereum", "address": "0x12"}, "invalid_address"),
        ("challenge", {"method": "ethereum", "address": str(EVM), "uri": "https://evil.example"}, "foreign_domain"),
        ("challenge", {"method": "ethereum", "address": str(EVM), "uri": "a\nb"}, "invalid_siwe_message"),
        ("challenge", {"method": "substrate", "address": "5Grw"}, "invalid_address"),
        ("challenge", {"method": "did", "did": "did:peaq:12"}, "invalid_did"),
        ("challenge", {"method": "did", "did": "did:web:example.org"}, "invalid_did"),
        ("login", {"method": "ethereum", "message": "", "signature": "0x00"}, "invalid_siwe_message"),
        ("login", {"method": "ethereum", "message": "m", "signature": "sig"}, "invalid_value"),
        (
            "login",
            {"method": "did", "did": "did:key:z6", "algorithm": "rsa", "nonce": "n", "signature": "00"},
            "invalid_value",
        ),
    ],
    ids=str,
)
async def test_what_cannot_be_read_is_told_so(entrance: Entrance, path: str, body: Json, code: str) -> None:
    response = await entrance.gateway.post(f"/v1/auth/{path}", body)
    error = (await response.json())["error"]
    assert (error["code"], response.status) == (code, 403 if code == "foreign_domain" else 400)


async def test_an_address_is_taken_in_any_case_and_written_with_its_checksum(entrance: Entrance) -> None:
    challenge = await entrance.challenge(method="ethereum", address=str(EVM).lower())
    assert parse_address(challenge["message"].splitlines()[1]) == EVM.address
    assert challenge["message"].splitlines()[1] == str(EVM)
