// What a task becomes by its events. The gateway has checked them (streams/tasks/task.py has the rule); here they only add up.

import { dimensionsOf } from "./vectors.js";

const TAIL_CHARS = 240;

/** A task of which nothing is known yet but its id. */
export function unknownTask(task) {
  return { task, created_ms: createdMs(task), model: "", prompt: "", n: 0, phase: "submitted", tokens: 0, chars: 0, tail: "" };
}

/** The creation time that the id carries, in Unix milliseconds. */
export function createdMs(task) {
  return parseInt(task.slice(0, 12), 16);
}

/** A task as the gateway sent it: what is left out has its default. */
export function fromView(view) {
  return { ...unknownTask(view.task), ...view, fresh: "" };
}

/**
 * Apply one event; one that was seen before changes nothing.
 * @param {object} task
 * @param {object} event
 * @param {number} nowMs when it arrived here
 */
export function advance(task, event, nowMs) {
  if (event.n <= task.n) return task;
  const next = { ...task, n: event.n };
  switch (event.type) {
    case "task.accepted.v1":
      return { ...next, phase: "waiting" };
    case "task.queued.v1":
      return { ...next, phase: "waiting", position: event.position, reason: event.reason };
    case "task.assigned.v1":
      return assign(next, event);
    case "task.chunk.v1":
      return addChunk(next, event, nowMs);
    case "task.requeued.v1":
      return { ...next, phase: "waiting", reason: event.message };
    case "task.halted.v1":
      return { ...next, phase: "halted", reason: event.reason };
    case "task.ended.v1":
      return { ...next, phase: "ended", outcome: event.outcome, error: event.error, ended_ms: event.at_ms };
    default:
      return next;
  }
}

/** Whether the text so far is void and the answer begins again. */
export const restarts = (event) => event.type === "task.assigned.v1" && event.seam === "restarted";

function assign(task, event) {
  const before = restarts(event) ? { ...task, tokens: 0, chars: 0, tail: "", vectors: undefined, timedFromMs: undefined } : task;
  return { ...before, phase: "running", node: event.node, attempt: event.attempt, position: undefined, reason: undefined };
}

function addChunk(task, chunk, nowMs) {
  const tokens = chunk.tokens ?? 0;
  const timing = task.timedFromMs === undefined ? { timedFromMs: nowMs, timedTokens: 0 } : { timedTokens: task.timedTokens + tokens };
  return {
    ...task,
    ...timing,
    timedToMs: nowMs,
    phase: chunk.finish_reason ? "written" : "running",
    finish_reason: chunk.finish_reason,
    tokens: task.tokens + tokens,
    chars: task.chars + (chunk.vectors?.count ?? charsOf(chunk)),
    tail: (task.tail + chunk.text).slice(-TAIL_CHARS),
    fresh: chunk.text,
    ...(chunk.vectors && { vectors: (task.vectors ?? 0) + chunk.vectors.count, dimensions: dimensionsOf(chunk.vectors) }),
  };
}

/** As the events count: of the text, and of the arguments of calls. */
function charsOf({ text, tool_calls: calls = [] }) {
  return calls.reduce((sum, { arguments: written = "" }) => sum + [...written].length, [...text].length);
}

/** Tokens per second as they arrived here; null where too little was seen to say. */
export function rateOf(task) {
  const seconds = (task.timedToMs - task.timedFromMs) / 1000;
  return seconds > 0.2 && task.timedTokens > 1 ? task.timedTokens / seconds : null;
}

export const isOver = (task) => task.phase === "ended";
export const isWaiting = (task) => task.phase === "submitted" || task.phase === "waiting";
export const isRunning = (task) => !isOver(task) && !isWaiting(task);
