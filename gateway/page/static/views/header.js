import { useState } from "preact/hooks";

import { openUsage } from "./address.js";
import { html } from "./html.js";
import { SignedIn } from "./signed-in.js";
import { useSecondsUntil } from "./seconds.js";
import { NAMES, nextTheme, theme } from "./theme.js";

export function Header({ state, session }) {
  const { phase, who } = state.session;
  const live = Object.values(state.nodes ?? {}).filter((node) => node.live).length;
  return html`
    <header class="top">
      <h1 class="brand">
        <img src="/page/icon.svg" alt="" width="24" height="24" />
        iG3 mesh
      </h1>
      ${state.account && phase !== "out" && html`<span class="top-fact">account <b>${state.account}</b></span>`}
      ${state.nodes && phase !== "out" && html`<span class="top-fact">${live} ${live === 1 ? "node" : "nodes"} live</span>`}
      ${!state.busConnected && html`<span class="notice" role="status">The gateway cannot reach the broker; it keeps trying</span>`}
      ${state.notice && html`<span class="notice" role="status">${state.notice}</span>`}
      <span class="spring"></span>
      ${phase !== "out" && html`<button class="small" id="usage-button" onClick=${openUsage}>Usage</button>`}
      ${phase === "in" && html`<${SignedIn} who=${who} aheadMs=${state.aheadMs} session=${session} />`}
      <${ConnectionState} connection=${state.connection} />
      <${ThemeButton} />
    </header>
  `;
}

function ConnectionState({ connection }) {
  const seconds = useSecondsUntil(connection.retryAtMs);
  const text = {
    live: "Live",
    connecting: "Connecting",
    waiting: seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting",
    refused: "Refused",
    out: "Not signed in",
  }[connection.phase];
  return html`
    <span class="connection" data-phase=${connection.phase} role="status" title=${connection.reason ?? ""}>
      <span class="dot" aria-hidden="true"></span>${text}
    </span>
  `;
}

function ThemeButton() {
  const [name, setName] = useState(theme());
  return html`
    <button class="quiet" title=${`Colours: ${NAMES[name]}`} aria-label=${`Colours: ${NAMES[name]}. Change.`} onClick=${() => setName(nextTheme())}>
      <svg class="glyph" viewBox="0 0 16 16" aria-hidden="true">
        <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5" />
        ${name !== "light" && html`<path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor" />`}
        ${name === "dark" && html`<path d="M8 2.5a5.5 5.5 0 0 0 0 11z" fill="currentColor" />`}
      </svg>
    </button>
  `;
}
