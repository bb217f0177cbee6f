import { useState } from "preact/hooks";

import { html } from "./html.js";

const SAID_MS = 1500;

export function CopyButton({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), SAID_MS);
  };
  return html`<button class="small" onClick=${copy}>${copied ? "Copied" : label}</button>`;
}
