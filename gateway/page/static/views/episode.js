import { useEffect, useRef } from "preact/hooks";

import { Bar } from "./bar.js";
import * as format from "./format.js";
import { html } from "./html.js";

/** What was asked: the first line of every story. */
export function Submitted({ task }) {
  return html`
    <${Entry} kind="submitted" title="Submitted" writer="client" at=${format.clock(task.created_ms)}>
      ${task.prompt && html`<p class="said">${task.prompt}</p>`}
    <//>
  `;
}

/** The chunks of one attempt that follow each other. */
export function Chunks({ episode }) {
  const text = useRef(null);
  useEffect(() => {
    if (!episode.finish) text.current.scrollTop = text.current.scrollHeight;
  }, [episode.lastN]);
  const many = episode.lastN > episode.firstN;
  const range = many ? `${episode.firstN}–${episode.lastN}` : episode.firstN;
  const title = `${format.plural(episode.tokens, "token")} in ${format.plural(episode.lastN - episode.firstN + 1, "chunk")}`;
  return html`
    <${Entry} kind="chunks" n=${range} title=${title} writer=${episode.writer}>
      <p class="said" data-testid="answer" ref=${text}>${episode.vectors ? format.vectors(episode) : episode.text}</p>
      ${episode.finish && html`<p class="detail">Finish reason <b>${episode.finish}</b>${usage(episode.usage)}</p>`}
    <//>
  `;
}

export function Marker({ episode, sinceMs }) {
  const { event } = episode;
  const { kind, title, body } = describe(event);
  return html`
    <${Entry} kind=${kind} n=${episode.firstN} title=${title} writer=${episode.writer} at=${format.offset(event.at_ms - sinceMs)}>${body}<//>
  `;
}

function Entry({ kind, n, title, writer, at, children }) {
  return html`
    <li class="entry" data-kind=${kind} data-testid=${`entry-${kind}`}>
      <span class="entry-n">${n ?? ""}</span>
      <div class="entry-body">
        <p class="entry-title">
          <b>${title}</b>
          <span class="aside">by ${writer === "mesh" ? "the dispatcher" : writer}</span>
          ${at && html`<time>${at}</time>`}
        </p>
        ${children}
      </div>
    </li>
  `;
}

function describe(event) {
  switch (event.type) {
    case "task.accepted.v1":
      return { kind: "accepted", title: "Accepted", body: null };
    case "task.queued.v1":
      return { kind: "queued", title: "Queued", body: queued(event) };
    case "task.assigned.v1":
      return { kind: "assigned", title: `Assigned to ${event.node}`, body: html`<${Placement} event=${event} />` };
    case "task.requeued.v1":
      return { kind: "queued", title: `Attempt ${event.attempt} came to nothing`, body: requeued(event) };
    case "task.halted.v1":
      return { kind: "halted", title: "Halted", body: html`<p class="detail">${event.reason}</p>` };
    case "task.ended.v1":
      return { kind: event.outcome, title: `Ended: ${event.outcome}`, body: ended(event) };
    default:
      return { kind: "other", title: event.type, body: html`<pre>${JSON.stringify(event, null, 2)}</pre>` };
  }
}

function queued(event) {
  const before = event.position === 0 ? "Next in line" : `${format.plural(event.position, "task")} before it`;
  return html`<p class="detail">${before}: ${event.reason}</p>`;
}

function requeued(event) {
  return html`<p class="detail">${event.node}: ${event.message} <span class="mono">${event.code}</span></p>`;
}

function ended(event) {
  const lost = event.hedge && event.hedge.outcome !== "won" && hedged(event.hedge);
  return html`
    ${event.error && html`<p class="detail">${event.error.message} <span class="mono">${event.error.code}</span></p>`} ${lost}
  `;
}

const HEDGES = {
  won: ({ node, beside }) => `${node} was first; ${beside} was stopped, and earns nothing`,
  lost: ({ node, beside }) => `${beside} was first; ${node} was stopped, and earns nothing`,
  left: ({ node }) => `${node} gave up, or was lost`,
  over: () => "the attempt ended before either had a word",
};

/** That a second node was asked too, why, and what came of it. */
function hedged(hedge) {
  const usual = hedge.samples ? `later than 95 % of its last ${hedge.samples} were` : "a guess: too few were measured";
  return html`
    <p class="detail" data-testid="hedge">
      Hedged: ${hedge.beside} had no word after ${hedge.waited_s.toFixed(2)} s (${usual}), so ${hedge.node} was asked too:
      ${" "}${(HEDGES[hedge.outcome] ?? HEDGES.over)(hedge)}
    </p>
  `;
}

const SEAMS = {
  continued: (chars) => `, goes on after ${chars}`,
  replayed: (chars) => `, writes anew and hidden up to the ${chars} so far`,
  restarted: () => ", begins again: what was written before is void",
};

/** Why this node: every candidate with its score and how that came about, or with the reason why it was passed over. */
function Placement({ event }) {
  const candidates = [...(event.candidates ?? [])].sort(
    (a, b) => !!a.has_failed - !!b.has_failed || (b.score ?? -Infinity) - (a.score ?? -Infinity),
  );
  const scores = candidates.map((candidate) => candidate.score).filter((score) => score != null);
  const range = { best: Math.max(...scores), worst: Math.min(...scores), unit: unitOf(event.policy) };
  return html`
    <p class="detail">
      Attempt ${event.attempt}, policy <b>${event.policy}</b>${SEAMS[event.seam]?.(format.plural(event.offset ?? 0, "character"))}
    </p>
    ${event.hedge && hedged(event.hedge)}
    <table class="candidates">
      <caption class="unseen">Candidates</caption>
      <thead class="unseen"><tr><th>Node</th><th>Score</th></tr></thead>
      <tbody>
        ${candidates.map((candidate) => html`<${Candidate} candidate=${candidate} event=${event} range=${range} />`)}
      </tbody>
    </table>
    ${(event.serving ?? 0) > candidates.length && html`<p class="detail">of ${format.plural(event.serving, "node")}${passedOver(event)}</p>`}
  `;
}

function Candidate({ candidate, event, range }) {
  const isChosen = candidate.node === event.node && (candidate.model ?? null) === (event.model ?? null);
  const notes = [candidate.has_failed && "has failed this task", ...parts(candidate, range.unit)].filter(Boolean);
  return html`
    <tr data-chosen=${isChosen}>
      <th scope="row">${candidate.node}${candidate.model && html` <span class="mono">${candidate.model}</span>`}</th>
      <td>
        ${candidate.rejected ?? html`<${Score} score=${candidate.score} range=${range} />`}
        ${notes.length > 0 && html`<span class="score-parts">${notes.join(" · ")}</span>`}
      </td>
    </tr>
  `;
}

function passedOver(event) {
  const reasons = (event.rejects ?? []).map((each) => `${each.count} ${each.reason}`);
  return reasons.length ? `, passed over: ${reasons.join(", ")}` : "";
}

/** A policy that draws by odds scores in doublings of them, any other in seconds that the task gains or loses. */
function unitOf(policy) {
  return policy?.startsWith("ig3.") ? "" : "\u00a0s";
}

/** How a score came about, and what was expected of the node. */
function parts(candidate, unit) {
  const told = (candidate.parts ?? []).map((part) => `${part.name.replaceAll("_", " ")}\u00a0${signed(part.value)}${unit}`);
  if (candidate.first_token_s == null || candidate.finish_s == null) return told;
  const [first, all] = [candidate.first_token_s, candidate.finish_s].map((seconds) => `${seconds.toFixed(2)}\u00a0s`);
  return [...told, `first token after ${first}, all after ${all}`];
}

function signed(value) {
  const digits = Math.abs(value).toFixed(2);
  return `${value < 0 && Number(digits) > 0 ? "−" : ""}${digits}`;
}

/** The bar shows how much better than the worst of them it is. */
function Score({ score, range }) {
  const span = range.best - range.worst;
  const share = span > 0 ? 0.02 + (0.98 * (score - range.worst)) / span : 1;
  return html`
    <span class="score">
      <${Bar} value=${share} of=${1} label="score" />
      <span class="number">${signed(score)}${range.unit}</span>
    </span>
  `;
}

function usage(tokens) {
  if (!tokens) return "";
  return html`, ${format.count(tokens.prompt_tokens)} prompt and ${format.count(tokens.completion_tokens)} completion tokens`;
}
