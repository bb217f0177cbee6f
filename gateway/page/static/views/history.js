import { useEffect, useRef, useState } from "preact/hooks";

import { episodes } from "../state/episodes.js";
import { isOver, isWaiting } from "../state/task.js";
import { closeSide } from "./address.js";
import { CopyButton } from "./copy.js";
import { Chunks, Marker, Submitted } from "./episode.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { cross, useEscape } from "./leaving.js";
import { Mark, wordFor } from "./mark.js";

/**
 * One task, event by event.
 * @param {{opened: object, known?: object, locked: boolean, socket: import("../wire/socket.js").MeshSocket}} props
 */
export function History({ opened, known, locked, socket }) {
  const title = useRef(null);
  const task = { ...(known ?? {}), ...opened.view, model: known?.model ?? "", prompt: known?.prompt ?? "" };
  const state = isOver(task) ? task.outcome : isWaiting(task) ? "waiting" : "running";
  useEffect(() => {
    title.current.focus();
    return () => document.getElementById(`task-${opened.task}`)?.focus({ preventScroll: true });
  }, []);
  useEscape(closeSide);
  return html`
    <section class="history" role="dialog" aria-labelledby="history-title" data-testid="history" inert=${locked}>
      <div class="history-head">
        <${Mark} state=${state} />
        <h2 id="history-title" ref=${title} tabindex="-1">${task.prompt || "Task"}</h2>
        <button class="quiet" aria-label="Close the history" onClick=${closeSide}>${cross}</button>
      </div>
      <${Facts} task=${task} state=${state} />
      <div class="history-acts">
        <${CopyButton} text=${opened.task} label="Copy id" />
        ${opened.text && html`<${CopyButton} text=${opened.text} label="Copy answer" />`}
        ${!isOver(task) && !opened.error && html`<${CancelButton} task=${opened.task} socket=${socket} />`}
      </div>
      ${opened.error && html`<p class="trouble" role="alert">${opened.error}</p>`}
      <h3>Events</h3>
      <ol class="story" data-testid="story">
        <${Submitted} task=${task} />
        ${episodes(opened.events).map((episode) => html`<${Episode} key=${episode.firstN} episode=${episode} sinceMs=${task.created_ms} />`)}
      </ol>
      ${!opened.done && !opened.error && html`<p class="following"><span class="dot" aria-hidden="true"></span>following</p>`}
    </section>
  `;
}

function Episode({ episode, sinceMs }) {
  return episode.kind === "chunks" ? html`<${Chunks} episode=${episode} />` : html`<${Marker} episode=${episode} sinceMs=${sinceMs} />`;
}

function Facts({ task, state }) {
  const facts = [
    ["State", wordFor(state)],
    ["Model", task.model || "–"],
    ["Node", task.node ?? "–"],
    ["Tokens", format.count(task.tokens)],
    [isOver(task) ? "Lasted" : "Since", isOver(task) ? format.duration(task.ended_ms - task.created_ms) : format.clock(task.created_ms)],
  ];
  return html`
    <dl class="facts">
      ${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
      <div class="whole"><dt>Id</dt><dd class="mono">${task.task}</dd></div>
    </dl>
  `;
}

function CancelButton({ task, socket }) {
  const [answer, setAnswer] = useState("");
  const cancel = () => socket.cancel(task).then((outcome) => setAnswer(outcome), (error) => setAnswer(error.message));
  return html`
    <button class="small danger" onClick=${cancel}>Cancel the task</button>
    ${answer && html`<span role="status">${answer}</span>`}
  `;
}
