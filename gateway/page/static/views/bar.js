import { html } from "./html.js";

/** How much of a whole, as a bar. */
export function Bar({ value, of, label }) {
  const percent = of > 0 ? Math.min(100, (100 * value) / of) : 0;
  return html`<span class="bar" role="img" aria-label=${label}><i style=${{ width: `${percent}%` }}></i></span>`;
}
