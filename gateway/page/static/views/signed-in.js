import { useState } from "preact/hooks";

import { findWallet, signWith } from "../wire/wallet.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { useSecondsUntil } from "./seconds.js";

const TOLD_BEFORE_S = 120;

/**
 * Who is signed in, and how to change that.
 * @param {{who: import("../wire/session.js").Who, aheadMs: number, session: import("../wire/session.js").Session}} props
 */
export function SignedIn({ who, aheadMs, session }) {
  const name = who.did ?? `key ${who.key_id}`;
  return html`
    ${who.role && html`<span class="top-fact">role <b>${who.role}</b></span>`}
    <span class="top-fact mono" title=${name} data-testid="who">${format.shortName(name)}</span>
    ${who.how === "session" && html`<${Ending} account=${who.account} endsAtMs=${who.expires_at_ms + aheadMs} session=${session} />`}
    <button class="small" title=${`Signed in for account ${who.account} as ${name}`} onClick=${() => session.leave()}>Sign out</button>
  `;
}

/** Shortly before a session is over that is not renewed any more: how long it lasts, and a way to go on. */
function Ending({ account, endsAtMs, session }) {
  const seconds = useSecondsUntil(endsAtMs);
  const [error, setError] = useState("");
  if (seconds > TOLD_BEFORE_S || seconds <= 0) return null;
  const renew = () => {
    setError("");
    signWith(findWallet(), account).then(({ token }) => session.enter(token)).catch((problem) => setError(problem.message));
  };
  return html`
    <span class="unseen" role="status">Your session ends soon.</span>
    <span class="notice ending" role="timer">Your session ends in ${format.duration(seconds * 1000)}</span>
    ${findWallet() && html`<button class="small" title="Your wallet signs once more" onClick=${renew}>Stay signed in</button>`}
    ${error && html`<span class="trouble" role="alert">${error}</span>`}
  `;
}
