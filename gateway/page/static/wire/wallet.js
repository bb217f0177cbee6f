// Signing in with a wallet of the browser (EIP-1193): it signs the gateway's message (EIP-4361), and a session comes of it.

import { Refused, refusalOf } from "./refused.js";

const REFUSED_BY_USER = 4001;
const ASKING_ALREADY = -32002;

/** The wallet that the browser has, if any. */
export function findWallet() {
  return globalThis.ethereum;
}

/** Call back when a wallet appears: some do after the page. */
export function onWallet(callback) {
  addEventListener("ethereum#initialized", callback);
  return () => removeEventListener("ethereum#initialized", callback);
}

/**
 * Have the wallet sign, and return a session: its `token`, and all `accounts` that its holder belongs to.
 * @param {object} wallet
 * @param {string} [account] for which account; without one the gateway takes the first by name
 * @throws {Refused} if whoever owns the wallet, or the gateway, does not want it
 */
export async function signWith(wallet, account) {
  const [address] = await askWallet(wallet, "eth_requestAccounts");
  if (!address) throw new Refused("The wallet has shown no account. Unlock it, and choose one for this page.");
  const chain_id = Number(await askWallet(wallet, "eth_chainId"));
  const { message } = await post("/v1/auth/challenge", { method: "ethereum", address, chain_id, uri: location.origin });
  const signature = await askWallet(wallet, "personal_sign", [hexOf(message), address]);
  return post("/v1/auth/login", { method: "ethereum", message, signature, account });
}

async function askWallet(wallet, method, params = []) {
  try {
    return await wallet.request({ method, params });
  } catch (error) {
    throw new Refused(wordsOf(error));
  }
}

function wordsOf(error) {
  if (error?.code === REFUSED_BY_USER) return "You said no in the wallet, so nothing was signed.";
  if (error?.code === ASKING_ALREADY) return "The wallet is asking you already: open it and answer there.";
  return `The wallet could not do it: ${error?.message ?? error}`;
}

async function post(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options).catch(() => {
    throw new Refused("The gateway cannot be reached now. Try again in a moment.");
  });
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

function hexOf(text) {
  const bytes = new TextEncoder().encode(text);
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
