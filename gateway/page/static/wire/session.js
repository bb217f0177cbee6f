// Who is signed in on this page, for its requests and for its websocket.
//
// The session of a wallet outlives a reload of this tab, and is renewed while the tab is open, for as long as the gateway
// lets one go on. An API key lasts longer, so it is kept in memory alone.

import { Refused, refusalOf } from "./refused.js";

const KEPT = "ig3.session";
const UNAUTHORIZED = 401;
const RENEWED_BEFORE_MS = 5 * 60_000;
const SOONEST_MS = 1000;
const AGAIN_MS = 20_000;
const UNTOLD = "You are signed out here, but the gateway could not be told: your session ends by itself within minutes.";
const OVER = {
  session: "Your session is over. Sign in again, and everything goes on where it was.",
  kept: "Your session is over. Sign in again.",
  key: "This API key is no longer good. Sign in with another.",
};

/**
 * @typedef {{account: string, how: "key" | "session", role: string | null, did: string | null, key_id: string | null, expires_at_ms: number | null}} Who
 * as `GET /v1/auth/me` has it
 *
 * @typedef {{phase: "unknown" | "open" | "out" | "in", who: Who | null, reason: string}} SessionState
 * `unknown` until a gateway has said whether it asks; `open`: it does not; `out` with `who`: that was signed in until now
 */

export class Session {
  #token = "";
  #timer = 0;
  #isLast = false; // No other token comes of this sign-in.
  #waiting = [];
  #listener;

  /**
   * @param {{changed: (state: SessionState) => void, entered: (isSame: boolean) => void, out: () => void, left: () => void,
   *   aheadMs: () => number}} listener
   * `aheadMs`: by how much the clock here is ahead of the gateway's; `entered` is told whether it is the same as before: then the screen stays as it is. `out`: nobody is signed in any
   * more; `left`: by their own will
   */
  constructor(listener) {
    this.#listener = listener;
    const kept = readKept();
    this.#token = kept.token;
    this.state = { phase: "unknown", who: kept.who, reason: "" };
  }

  /** What to show to a gateway; empty where nobody is signed in. */
  get token() {
    return this.#token;
  }

  /** The gateway asks nobody who that is. */
  notNeeded() {
    this.#keep("", null);
    this.#change({ phase: "open", who: null, reason: "" });
  }

  /**
   * Sign in with what a wallet got, or with an API key.
   * @throws {Refused} if it opens nothing, or no gateway answers
   */
  async enter(token) {
    const who = await whoIs(token);
    const before = this.state.who;
    this.#isLast = false;
    this.#keep(token, who);
    this.#change({ phase: "in", who, reason: "" });
    const same = before !== null && isSame(before, who);
    if (!same) this.#giveUp("You are signed in as somebody else now.");
    this.#listener.entered(same);
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** The gateway has let the websocket in, and says for whom. */
  admitted({ account, role, expires_at_ms }) {
    const who = { ...this.state.who, account, role: role ?? null, expires_at_ms: expires_at_ms ?? null };
    this.#change({ phase: "in", who, reason: "" });
    this.#planRenewal();
  }

  /** The gateway asks who is there, and what was shown (if anything) is not good, or no longer. */
  turnedAway(token, reason) {
    if (token !== this.#token) return;
    const { phase, who } = this.state;
    const why = who?.how === "key" ? reason || OVER.key : OVER.session;
    this.#keep("", null);
    if (phase === "unknown") this.#change({ phase: "out", who: null, reason: who ? OVER.kept : "" });
    else this.#change({ phase: "out", who, reason: who ? why : "" });
    this.#listener.out();
  }

  /** Sign out: nothing of it stays here, and no gateway takes it any more. */
  leave() {
    if (this.state.who?.how === "session") this.#tellEnd(this.#token);
    this.#keep("", null);
    this.#giveUp("You have signed out.");
    this.#change({ phase: "out", who: null, reason: "You are signed out." });
    this.#listener.left();
    this.#listener.out();
  }

  /** As the browser's own `fetch`, in the name of whoever is signed in; where nobody is any more, once somebody is again. */
  fetch = async (path, { headers, signal, ...options } = {}) => {
    for (;;) {
      const token = this.#token;
      const response = await fetch(path, { ...options, signal, headers: { ...headers, ...bearer(token) } });
      if (response.status !== UNAUTHORIZED || this.state.phase === "open") return response;
      this.turnedAway(token, (await refusalOf(response)).message);
      await this.#somebody(signal);
    }
  };

  #planRenewal() {
    clearTimeout(this.#timer);
    const { who } = this.state;
    if (who?.how !== "session" || !who.expires_at_ms || this.#isLast) return;
    const leftMs = who.expires_at_ms + this.#listener.aheadMs() - Date.now();
    this.#timer = setTimeout(() => this.#renew(), Math.max(leftMs - RENEWED_BEFORE_MS, SOONEST_MS));
  }

  async #renew() {
    const token = this.#token;
    const response = await fetch("/v1/auth/renew", { method: "POST", headers: bearer(token) }).catch(() => null);
    const renewed = response?.ok ? await response.json().catch(() => null) : null;
    if (token !== this.#token || !token) return; // Somebody has signed out meanwhile, or in again.
    if (renewed) return this.#goOn(renewed);
    // What is no longer good the websocket hears of as well. All other trouble passes.
    if (response?.status !== UNAUTHORIZED) this.#timer = setTimeout(() => this.#renew(), AGAIN_MS);
  }

  #goOn({ token, expires_in, session_expires_in }) {
    this.#isLast = expires_in >= session_expires_in;
    const who = { ...this.state.who, expires_at_ms: Date.now() - this.#listener.aheadMs() + expires_in * 1000 };
    this.#keep(token, who);
    this.#change({ phase: "in", who, reason: "" });
    this.#listener.entered(true);
  }

  async #tellEnd(token) {
    const options = { method: "POST", headers: bearer(token), keepalive: true };
    const response = await fetch("/v1/auth/sign-out", options).catch(() => null);
    const isTold = response !== null && (response.ok || response.status === UNAUTHORIZED);
    if (!isTold && this.state.phase === "out") this.#change({ ...this.state, reason: UNTOLD });
  }

  #somebody(signal) {
    if (this.#token) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  #giveUp(reason) {
    for (const { reject } of this.#waiting.splice(0)) reject(new Refused(reason));
  }

  #keep(token, who) {
    clearTimeout(this.#timer);
    this.#token = token;
    if (who?.how === "session") sessionStorage.setItem(KEPT, JSON.stringify({ token, who }));
    else sessionStorage.removeItem(KEPT);
  }

  #change(state) {
    this.state = state;
    this.#listener.changed(state);
  }
}

function readKept() {
  try {
    const { token, who } = JSON.parse(sessionStorage.getItem(KEPT));
    return { token, who };
  } catch {
    return { token: "", who: null };
  }
}

async function whoIs(token) {
  const response = await fetch("/v1/auth/me", { headers: bearer(token) }).catch(() => {
    throw new Refused("The gateway cannot be reached now. Try again in a moment.");
  });
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function isSame(one, other) {
  return ["account", "how", "did", "key_id"].every((name) => one[name] === other[name]);
}
