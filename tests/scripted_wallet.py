"""A wallet in the browser (EIP-1193) whose keys are in the test: it signs, or says no, as the test wants."""

from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page

from mesh.identity.accounts import evm_account
from mesh.identity.did import did_pkh
from mesh.identity.evm import sign_personal
from mesh.identity.keys import SigningKey

REFUSED_BY_USER = 4001
NO_SUCH_METHOD = 4200

# A page of the web sees `window.ethereum` only, and what it throws are errors with a `code`.
_PROVIDER = """
window.ethereum = {
    request: async ({ method, params }) => {
        const { result, code, message } = await window.walletOfTheTest(method, params ?? []);
        if (code !== undefined) throw Object.assign(new Error(message), { code });
        return result;
    },
};
"""


@dataclass(kw_only=True)
class ScriptedWallet:
    """Put into a page with ``install`` before that is opened."""

    key: SigningKey
    says_no: bool = False
    signed: list[str] = field(default_factory=list)
    """The texts that it has signed."""

    @property
    def did(self) -> str:
        return did_pkh(evm_account(self.key.public), "eip155:1").text

    async def install(self, page: Page) -> None:
        await page.expose_function("walletOfTheTest", self._request)
        await page.add_init_script(_PROVIDER)

    def _request(self, method: str, params: list[str]) -> dict[str, Any]:
        address = str(evm_account(self.key.public))
        match method, params:
            case "eth_requestAccounts", []:
                return {"result": [address.lower()]}
            case "eth_chainId", []:
                return {"result": "0xd0a"}
            case "personal_sign", [text, asked] if asked == address.lower():
                return self._sign(bytes.fromhex(text.removeprefix("0x")))
            case _:
                return {"code": NO_SUCH_METHOD, "message": f"{method} is not supported"}

    def _sign(self, message: bytes) -> dict[str, Any]:
        if self.says_no:
            return {"code": REFUSED_BY_USER, "message": "MetaMask Message Signature: User denied message signature."}
        self.signed.append(message.decode())
        return {"result": f"0x{sign_personal(self.key, message).hex()}"}
