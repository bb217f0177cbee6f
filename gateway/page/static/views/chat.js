import { useEffect, useReducer, useRef, useState } from "preact/hooks";

import { begin, change, forRequest } from "../state/conversation.js";
import { isWaiting, rateOf } from "../state/task.js";
import { ask } from "../wire/chat.js";
import { openTask } from "./address.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { waitingFor } from "./tasks.js";

/**
 * @param {{models: object[] | null, tasks: Record<string, object> | null, locked: boolean,
 *   socket: import("../wire/socket.js").MeshSocket, session: import("../wire/session.js").Session}} props
 */
export function Chat({ models: served, tasks, locked, socket, session }) {
  // One that only turns texts into vectors has nothing to say.
  const models = served?.filter(({ kind }) => kind !== "embedding") ?? null;
  const [turns, dispatch] = useReducer(change, []);
  useHangingUp(turns.at(-1)?.abort);
  const [model, setModel] = useState("");
  const chosen = models?.some((known) => known.model === model) ? model : (models?.[0]?.model ?? "");
  const answering = turns.at(-1)?.state === "open";
  const send = (text) => converse(turns, text, chosen, session.fetch, dispatch);
  return html`
    <section class="chat" aria-labelledby="chat-title" inert=${locked}>
      <div class="panel-head">
        <h2 id="chat-title">Chat</h2>
        <${ModelChoice} models=${models} chosen=${chosen} onChoose=${setModel} />
        ${turns.length > 0 && !answering && html`<button class="small" onClick=${() => dispatch({ type: "clear" })}>Clear</button>`}
      </div>
      <${Turns} turns=${turns} tasks=${tasks} />
      <${Composer} blocked=${!chosen || answering} model=${chosen} onSend=${send}>
        ${answering && html`<button type="button" class="send" onClick=${() => stop(turns.at(-1), socket)}>Stop</button>`}
      <//>
    </section>
  `;
}

/** What still answers when the chat goes, as when somebody signs out, is for nobody any more. */
function useHangingUp(abort) {
  const last = useRef(abort);
  last.current = abort;
  useEffect(() => () => last.current?.abort(), []);
}

function ModelChoice({ models, chosen, onChoose }) {
  if (!models || models.length === 0) return html`<span class="aside">no model is served now</span>`;
  if (models.length === 1) return html`<span class="aside mono">${chosen}</span>`;
  return html`
    <select aria-label="Model" value=${chosen} onChange=${(event) => onChoose(event.target.value)}>
      ${models.map(({ model }) => html`<option value=${model}>${model}</option>`)}
    </select>
  `;
}

function Turns({ turns, tasks }) {
  const log = useRef(null);
  const atEnd = useRef(true);
  useEffect(() => {
    if (atEnd.current) log.current.scrollTop = log.current.scrollHeight;
  }, [turns]);
  const onScroll = ({ target }) => (atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40);
  return html`
    <div class="turns" role="log" aria-label="Conversation" ref=${log} onScroll=${onScroll} tabindex="0" data-testid="turns">
      ${turns.length === 0 && html`<p class="chat-hint">Whatever you ask becomes a task of the mesh. Watch it being placed, written and kept.</p>`}
      ${turns.map((turn) => html`<${Turn} key=${turn.key} turn=${turn} task=${tasks?.[turn.task]} />`)}
    </div>
  `;
}

function Turn({ turn, task }) {
  if (turn.role === "user") return html`<div class="turn user"><p>${turn.text}</p></div>`;
  return html`
    <div class="turn answer" data-state=${turn.state} data-testid="answer-turn" aria-busy=${turn.state === "open"}>
      <p class="text">${turn.text}${turn.state === "open" && html`<span class="caret" aria-hidden="true"></span>`}</p>
      ${turn.error && html`<p class="trouble" role="alert">${turn.error}</p>`}
      <p class="turn-foot">
        ${footOf(turn, task)}
        ${turn.task && html`<button class="link" onClick=${() => openTask(turn.task)}>how it went</button>`}
      </p>
    </div>
  `;
}

function footOf(turn, task) {
  if (turn.state === "open" && turn.lost) return "connection lost, reading on as soon as a gateway answers";
  if (turn.state === "open" && !turn.text) return task && isWaiting(task) ? waitingFor(task) : "asking";
  if (turn.state === "stopped") return "stopped";
  const facts = task?.node ? [`on ${task.node}`] : [];
  const rate = task && rateOf(task);
  if (turn.usage) facts.push(format.plural(turn.usage.completion_tokens, "token"));
  if (rate) facts.push(`${format.rate(rate)} tokens/s`);
  if (turn.finish === "length") facts.push("cut at its length");
  return facts.join(" · ");
}

function Composer({ blocked, model, onSend, children }) {
  const [text, setText] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (blocked || !text.trim()) return;
    onSend(text.trim());
    setText("");
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  return html`
    <form class="composer" onSubmit=${submit}>
      <textarea
        rows="3"
        placeholder=${model ? `Ask ${model}` : "As soon as a node serves a model, ask here"}
        aria-label="Your question"
        value=${text}
        onInput=${(event) => setText(event.target.value)}
        onKeyDown=${onKeyDown}
      ></textarea>
      <div class="composer-foot">
        <span class="aside">Enter sends, Shift+Enter breaks the line</span>
        ${children || html`<button class="send" disabled=${blocked || !text.trim()}>Send</button>`}
      </div>
    </form>
  `;
}

async function converse(turns, text, model, send, dispatch) {
  const abort = new AbortController();
  const [question, answer] = begin(text, abort);
  dispatch({ type: "ask", question, answer });
  const tell = (type, more) => dispatch({ type, key: answer.key, ...more });
  const messages = forRequest([...turns, question]);
  try {
    await ask(
      { model, messages, signal: abort.signal },
      {
        task: (task) => tell("task", { task }),
        piece: (piece) => tell("piece", { piece }),
        lost: () => tell("lost"),
        restarted: () => tell("restarted"),
      },
      send,
    );
    tell("done");
  } catch (error) {
    if (abort.signal.aborted) tell("stopped");
    else tell("failed", { error: error.message });
  }
}

/** Hang up and cancel: hanging up alone lets the mesh finish what nobody reads. */
function stop(turn, socket) {
  turn.abort.abort();
  if (turn.task) socket.cancel(turn.task).catch(() => undefined);
}
