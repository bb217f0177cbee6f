import { useEffect } from "preact/hooks";

import { html } from "./html.js";

/** Close on Escape, as everything that lies over the page does. */
export function useEscape(close) {
  useEffect(() => {
    const onKey = (event) => event.key === "Escape" && close();
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

export const cross = html`<svg class="glyph" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" /></svg>`;
