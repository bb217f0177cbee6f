import { useEffect, useRef, useState } from "preact/hooks";

import { findWallet, onWallet, signWith } from "../wire/wallet.js";
import { html } from "./html.js";

const KEY_FORM = /^ig3_[a-z0-9]+_[a-z0-9]+$/i;
const NO_KEY = "That is no API key of an iG3 mesh: one begins with ig3_ and has two more parts.";
/** What comes with the gateway's own words, by their code: before and after them. */
const LEADS = { not_a_member: "You have no account here yet." };
const HINTS = { invalid_api_key: "See that you have copied all of it, or ask whoever runs this mesh for a new one." };

/**
 * Who is there? Instead of the board, or over it where somebody was signed in until now.
 * @param {{reason: string, over: boolean, session: import("../wire/session.js").Session}} props
 */
export function SignIn({ reason, over, session }) {
  const [error, setError] = useState("");
  const [choice, setChoice] = useState(null);
  const title = useFocus();
  const isOpen = useIsOpen();
  const enter = async (getToken) => {
    setError("");
    try {
      const token = await getToken();
      // A wallet may answer long after somebody has signed in by a key.
      if (token && isOpen.current) await session.enter(token);
    } catch (problem) {
      setChoice(null);
      setError([LEADS[problem.code], problem.message, HINTS[problem.code]].filter(Boolean).join(" "));
    }
  };
  return html`
    <div class="gate" data-over=${over}>
      <section class="gate-card" role=${over ? "dialog" : null} aria-labelledby="gate-title" data-testid="sign-in">
        <h2 id="gate-title" ref=${title} tabindex="-1">Sign in</h2>
        <p class="gate-lead" role="status">${reason || "This gateway serves known accounts only."}</p>
        ${choice ? html`<${Accounts} signed=${choice} enter=${enter} />` : html`
          <${WithWallet} who=${session.state.who} enter=${enter} choose=${setChoice} />
          <p class="gate-or"><span>or</span></p>
          <${WithKey} enter=${enter} refuse=${setError} />
        `}
        ${error && html`<p class="trouble" role="alert">${error}</p>`}
      </section>
    </div>
  `;
}

/** @param {{who: object | null, enter: Function, choose: Function}} props `who` was here until now, and comes back as the same */
function WithWallet({ who, enter, choose }) {
  const wallet = useWallet();
  const [waiting, setWaiting] = useState(false);
  const [same, setSame] = useState(who?.how === "session" ? who.account : undefined);
  if (!wallet) {
    return html`<p class="gate-note">No wallet is in this browser. Install one that speaks EIP-1193, such as MetaMask, or use an API key.</p>`;
  }
  const ask = async () => {
    setWaiting(true);
    await enter(async () => {
      setSame(undefined); // Who does not belong there any more may choose at the next try.
      const signed = await signWith(wallet, same);
      if (same || signed.accounts.length === 1) return signed.token;
      choose(signed);
      return "";
    });
    setWaiting(false);
  };
  return html`
    <button class="send gate-act" disabled=${waiting} aria-busy=${waiting} aria-describedby="gate-wallet" onClick=${ask}>
      ${waiting ? "Answer in your wallet" : "Sign in with your wallet"}
    </button>
    <p class="gate-note" id="gate-wallet">You sign a short message, which costs nothing.</p>
  `;
}

/** Somebody belongs to several accounts: the wallet has signed for the first of them. */
function Accounts({ signed, enter }) {
  const [waiting, setWaiting] = useState("");
  const ask = async (account) => {
    setWaiting(account);
    await enter(async () => (account === signed.account ? signed : await signWith(findWallet(), account)).token);
    setWaiting("");
  };
  return html`
    <fieldset class="gate-accounts" disabled=${waiting !== ""}>
      <legend>You belong to several accounts. For which one?</legend>
      ${signed.accounts.map(({ account, role }) => html`
        <button key=${account} class="gate-second" aria-busy=${waiting === account} onClick=${() => ask(account)}>
          ${account} <span class="gate-role">${role}</span>
        </button>
      `)}
      <p class="gate-note">For another than ${signed.account} your wallet signs once more.</p>
    </fieldset>
  `;
}

function WithKey({ enter, refuse }) {
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    if (busy || !key.trim()) return;
    if (!KEY_FORM.test(key.trim())) return refuse(NO_KEY);
    setBusy(true);
    await enter(() => key.trim());
    setBusy(false);
  };
  return html`
    <form class="gate-key" onSubmit=${submit}>
      <label for="gate-key">API key</label>
      <input
        id="gate-key"
        type="password"
        autocomplete="off"
        autocapitalize="none"
        spellcheck=${false}
        placeholder="ig3_…"
        aria-describedby="gate-key-note"
        value=${key}
        onInput=${(event) => setKey(event.target.value)}
      />
      <button class="gate-second" disabled=${busy || !key.trim()}>Use the key</button>
      <p class="gate-note" id="gate-key-note">Kept in this tab only, until it is closed or reloaded.</p>
    </form>
  `;
}

function useWallet() {
  const [wallet, setWallet] = useState(findWallet);
  useEffect(() => onWallet(() => setWallet(findWallet)), []);
  return wallet;
}

function useIsOpen() {
  const isOpen = useRef(true);
  useEffect(() => () => (isOpen.current = false), []);
  return isOpen;
}

/** Take the focus while the panel is there, then give it back to where it was. */
function useFocus() {
  const title = useRef(null);
  const before = useRef(document.activeElement);
  useEffect(() => {
    title.current.focus();
    // Later: what lay behind the panel takes no focus until it is drawn without it.
    return () => setTimeout(() => before.current.isConnected && before.current.focus());
  }, []);
  return title;
}
