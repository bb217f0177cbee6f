import { html } from "./html.js";

const WORDS = {
  waiting: "waiting",
  running: "running",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  dead: "given up",
};

const SHAPES = {
  waiting: html`<circle cx="8" cy="8" r="5.25" /><path d="M8 5.25V8l1.9 1.4" />`,
  running: html`<circle class="track" cx="8" cy="8" r="5.25" /><path class="arc" d="M8 2.75A5.25 5.25 0 0 1 13.25 8" />`,
  completed: html`<path d="M3.5 8.6 6.6 11.5 12.5 4.9" />`,
  failed: html`<path d="M4.5 4.5 11.5 11.5M11.5 4.5 4.5 11.5" />`,
  cancelled: html`<circle cx="8" cy="8" r="5.25" /><path d="M5.5 8h5" />`,
  dead: html`<path d="M4.5 4.5 11.5 11.5M11.5 4.5 4.5 11.5" />`,
};

/** The state of a task as a sign, with the word for those who do not see it. */
export function Mark({ state }) {
  return html`
    <svg class="mark" data-state=${state} viewBox="0 0 16 16" role="img" aria-label=${WORDS[state] ?? state}>
      ${SHAPES[state] ?? SHAPES.waiting}
    </svg>
  `;
}

export const wordFor = (state) => WORDS[state] ?? state;
