import { useEffect, useState } from "preact/hooks";

import { isOver, isRunning, isWaiting, rateOf } from "../state/task.js";
import { openTask } from "./address.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { Mark } from "./mark.js";

const FIRST_SHOWN = 30;

/** @param {{tasks: Record<string, object> | null, opened?: string}} props */
export function Tasks({ tasks, opened }) {
  const [shown, setShown] = useState(FIRST_SHOWN);
  const all = Object.values(tasks ?? {}).sort(byUrgency);
  const running = all.filter(isRunning).length;
  const waiting = all.filter(isWaiting).length;
  useTicking(all.some((task) => !isOver(task)));
  return html`
    <section class="panel" aria-labelledby="tasks-title">
      <div class="panel-head">
        <h2 id="tasks-title" tabindex="-1">Tasks</h2>
        ${all.length > 0 && html`<p class="aside">${running} running, ${waiting} waiting, ${all.length - running - waiting} ended</p>`}
      </div>
      ${tasks && all.length === 0 && html`<${NoTask} />`}
      <ul class="rows" data-testid="tasks">
        ${all.slice(0, shown).map((task) => html`<${Task} key=${task.task} task=${task} opened=${task.task === opened} />`)}
      </ul>
      ${all.length > shown && html`<button class="more" onClick=${() => setShown(shown + FIRST_SHOWN)}>Show ${Math.min(FIRST_SHOWN, all.length - shown)} more</button>`}
    </section>
  `;
}

/** What waits or runs comes first, then the newest. */
function byUrgency(a, b) {
  return Number(isOver(a)) - Number(isOver(b)) || b.task.localeCompare(a.task);
}

function NoTask() {
  const curl = `curl ${location.origin}/v1/chat/completions -N -H 'Content-Type: application/json' \\
  -d '{"model": "smollm2-135m-instruct", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'`;
  return html`
    <div class="empty">
      <p><b>Nothing was asked yet.</b> Ask something in the chat, or from a shell:</p>
      <pre><code>${curl}</code></pre>
    </div>
  `;
}

function Task({ task, opened }) {
  const state = isOver(task) ? task.outcome : isWaiting(task) ? "waiting" : "running";
  return html`
    <li>
      <button class="task" id=${`task-${task.task}`} data-state=${state} data-testid=${`task-${task.task}`} aria-expanded=${opened} onClick=${() => openTask(task.task)}>
        <${Mark} state=${state} />
        <span class="task-prompt">${task.prompt || html`<span class="mono">${task.task}</span>`}</span>
        <span class="task-facts">
          <span class="task-where">${task.model}${task.node && html`<span class="on"> on ${task.node}</span>`}</span>
          <span class="number">${format.count(task.tokens)} <small>tok</small></span>
          <span class="number">${speed(task)} <small>tok/s</small></span>
          <span class="number">${format.duration(lasted(task))}</span>
        </span>
        <${Line} task=${task} state=${state} />
      </button>
    </li>
  `;
}

function Line({ task, state }) {
  if (state === "waiting") return html`<span class="task-line wait">${waitingFor(task)}</span>`;
  if (state === "failed" || state === "dead") return html`<span class="task-line bad">${task.error?.message ?? state}</span>`;
  if (task.vectors) return html`<span class="task-line" data-testid="vectors">${format.vectors(task)}</span>`;
  // It wrote nothing, or vectors before this page was opened.
  if (isOver(task) && !task.tail) return null;
  return html`<${Tail} task=${task} />`;
}

/** The end of the answer: what is older runs out to the left, and what has just arrived is lit for a moment. */
function Tail({ task }) {
  const text = oneLine(task.tail);
  const fresh = isRunning(task) ? oneLine(task.fresh) : "";
  const before = fresh && text.endsWith(fresh) ? text.slice(0, -fresh.length) : text;
  return html`
    <span class="task-line tail" data-testid="tail">
      <bdi dir="ltr">${before}${fresh && html`<span class="fresh" key=${task.n}>${fresh}</span>`}</bdi>
    </span>
  `;
}

/** On one line, and without a space at its end, which would stand at its beginning in a box that runs to the left. */
function oneLine(text) {
  return text.replace(/\s+/g, " ").trimEnd();
}

export function waitingFor(task) {
  if (task.phase === "submitted") return "Submitted; no dispatcher has taken it yet";
  const before = task.position ? `${format.count(task.position)} before it` : "next";
  return task.reason ? `Queued, ${before}: ${task.reason}` : "Accepted, about to be placed";
}

function speed(task) {
  const seen = rateOf(task);
  if (seen !== null) return format.rate(seen);
  const seconds = isOver(task) ? (task.ended_ms - task.created_ms) / 1000 : 0;
  return seconds > 0 && task.tokens > 1 ? format.rate(task.tokens / seconds) : "–";
}

function lasted(task) {
  return (isOver(task) ? task.ended_ms : Date.now()) - task.created_ms;
}

function useTicking(active) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => tick((turn) => turn + 1), 500);
    return () => clearInterval(timer);
  }, [active]);
}
