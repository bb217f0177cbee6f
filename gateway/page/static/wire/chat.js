// Asking the OpenAI endpoint and reading its answer as server-sent events; if the gateway goes away meanwhile, from the
// task's own events, at whatever gateway answers then.

import { restarts } from "../state/task.js";
import { pauseMs } from "./backoff.js";
import { serverSentEvents } from "./events.js";
import { Refused, refusalOf } from "./refused.js";

const NOTHING_MORE = 204;
const RESTARTED = "answer_restarted";
const STOPPING = "gateway_stopping";

/**
 * @typedef {{n: number, text: string, finish: string | null, usage: object | null}} Piece
 */

/** The answer begins again, which a stream of OpenAI's shape cannot say: the task's events go on with it. */
class Restarted extends Error {
  constructor(n) {
    super();
    this.n = n;
  }
}

/**
 * Ask, and call back for the task's id and for each piece, once and in order. Resolves at the end of the answer.
 * After `restarted` all pieces so far are void.
 * @param {{model: string, messages: object[], signal: AbortSignal}} question
 * @param {{task: (id: string) => void, piece: (piece: Piece) => void, lost: () => void, restarted: () => void}} listener
 * @param {typeof fetch} send how requests are made: in whose name
 */
export async function ask(question, listener, send = (path, options) => fetch(path, options)) {
  const seen = { task: "", n: 0 };
  const taken = (piece) => {
    if (piece.n) seen.n = piece.n;
    listener.piece(piece);
  };
  try {
    await readCompletion(question, send, (task) => listener.task((seen.task = task)), taken);
  } catch (error) {
    if (error instanceof Refused || question.signal.aborted || !seen.task) throw error;
    if (error instanceof Restarted) {
      seen.n = error.n;
      listener.restarted();
    }
    await readOn(seen, send, question.signal, { ...listener, piece: taken });
  }
}

async function readCompletion({ model, messages, signal }, send, onTask, onPiece) {
  const response = await send("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const task = response.headers.get("x-ig3-task");
  if (task) onTask(task);
  if (!response.ok) throw await refusalOf(response);
  for await (const event of serverSentEvents(response.body)) {
    if (event.data === "[DONE]") return;
    onPiece(readPiece(event));
  }
  throw new TypeError("The stream ended before the answer did.");
}

async function readOn(seen, send, signal, listener) {
  for (let failures = 0; ; failures++) {
    listener.lost();
    await pause(pauseMs(0, failures), signal);
    try {
      const response = await send(`/v1/tasks/${seen.task}/events?after=${seen.n}`, { signal });
      if (response.status === NOTHING_MORE) return;
      if (!response.ok) throw new TypeError((await refusalOf(response)).message);
      for await (const event of serverSentEvents(response.body)) {
        failures = 0;
        if (takeEvent(JSON.parse(event.data), listener)) return;
      }
    } catch (error) {
      if (error instanceof Refused || signal.aborted) throw error;
    }
  }
}

/** Take one event of the task; true if it was the last. */
function takeEvent(event, listener) {
  if (restarts(event)) listener.restarted();
  if (event.type === "task.chunk.v1") {
    listener.piece({ n: event.n, text: event.text, finish: event.finish_reason ?? null, usage: event.usage ?? null });
  }
  if (event.type !== "task.ended.v1") return false;
  if (event.outcome !== "completed") throw new Refused(event.error?.message ?? `The task was ${event.outcome}.`);
  return true;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function readPiece(event) {
  const body = JSON.parse(event.data);
  if (body.error?.code === RESTARTED) throw new Restarted(Number(event.id));
  if (body.error?.code === STOPPING) throw new TypeError(body.error.message); // Lost, but not for good: read on.
  if (body.error) throw new Refused(body.error.message);
  const choice = body.choices?.[0];
  return {
    n: Number(event.id) || 0,
    text: choice?.delta?.content ?? "",
    finish: choice?.finish_reason ?? null,
    usage: body.usage ?? null,
  };
}
