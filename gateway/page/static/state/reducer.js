// The page's whole state as a fold of what happens: a pure function, so it can be tested and replayed.

import { addSample, emptySeries } from "./series.js";
import { advance, fromView, isOver, isRunning, isWaiting, restarts, unknownTask } from "./task.js";

const SHOWN_TASKS = 100;

export function initialState() {
  return {
    connection: { phase: "connecting" },
    session: { phase: "unknown", who: null, reason: "" },
    visitor: 0, // Counts those before whom nothing of the one before may be shown.
    aheadMs: 0, // By how much the clock here is ahead of the gateway's.
    account: "",
    busConnected: true,
    nodes: null, // null until the gateway has said what there is
    models: null,
    tasks: null,
    opened: null,
    notice: "",
    tokensSinceSample: 0,
    sampledAtMs: 0,
    series: emptySeries(),
  };
}

/** @param {{type: string, nowMs: number}} action a frame of the gateway, or something of the page's own ("page.…") */
export function reduce(state, action) {
  switch (action.type) {
    case "hello":
      return takeHello(state, action);
    case "authenticated":
      return { ...state, account: action.account };
    case "bus":
      return { ...state, busConnected: action.connected };
    case "nodes":
      return { ...state, nodes: takeNodes(state.nodes, action) };
    case "models":
      return { ...state, models: action.models };
    case "tasks":
      return { ...state, tasks: takeViews(state.tasks, action) };
    case "events":
      return action.topic === "task" ? takeHistory(state, action) : takeEvents(state, action);
    case "over":
      return overHistory(state, action.task);
    case "error":
      return takeError(state, action);
    case "page.connection":
      return { ...state, connection: action.connection };
    case "page.session":
      return { ...state, session: action.session };
    case "page.forget":
      return forget(state);
    case "page.open":
      return { ...state, opened: openedTask(action.task) };
    case "page.close":
      return { ...state, opened: null };
    case "page.second":
      return takeSample(state, action.nowMs);
    default:
      return state;
  }
}

function takeHello(state, { account, bus_connected, now_ms, nowMs }) {
  return { ...state, account: account ?? state.account, busConnected: bus_connected, aheadMs: nowMs - now_ms, notice: "" };
}

function forget(state) {
  const { connection, session, aheadMs, busConnected } = state;
  return { ...initialState(), connection, session, aheadMs, busConnected, visitor: state.visitor + 1 };
}

function takeNodes(known, frame) {
  const nodes = frame.reset ? {} : { ...known };
  for (const node of frame.nodes) nodes[node.node] = node;
  return nodes;
}

function takeViews(known, frame) {
  const tasks = frame.reset ? {} : { ...known };
  for (const view of frame.tasks) tasks[view.task] = keepTiming(fromView(view), known?.[view.task]);
  return frame.reset ? tasks : withoutOldest(tasks);
}

function keepTiming(task, before) {
  if (before?.timedFromMs === undefined) return task;
  const { timedFromMs, timedToMs, timedTokens } = before;
  return { ...task, timedFromMs, timedToMs, timedTokens };
}

function withoutOldest(tasks) {
  const surplus = Object.keys(tasks).length - SHOWN_TASKS;
  const over = Object.values(tasks).filter(isOver);
  over.sort((a, b) => a.created_ms - b.created_ms);
  for (const task of over.slice(0, Math.max(0, surplus))) delete tasks[task.task];
  return tasks;
}

function takeEvents(state, frame) {
  const tasks = { ...state.tasks };
  let tokens = 0;
  for (const { task, event } of frame.events) {
    const before = tasks[task] ?? unknownTask(task);
    const after = advance(before, event, frame.nowMs);
    tokens += Math.max(0, after.tokens - before.tokens);
    tasks[task] = after;
  }
  return { ...state, tasks, tokensSinceSample: state.tokensSinceSample + tokens };
}

function openedTask(task) {
  return { task, events: [], view: unknownTask(task), text: "", done: false, error: "" };
}

function takeHistory(state, frame) {
  const opened = state.opened;
  const fresh = frame.events.filter((item) => item.task === opened?.task && item.event.n > opened.view.n);
  if (fresh.length === 0) return state;
  const view = fresh.reduce((task, { event }) => advance(task, event, frame.nowMs), opened.view);
  const text = fresh.reduce((soFar, { event }) => (restarts(event) ? "" : soFar + (event.text ?? "")), opened.text);
  return { ...state, opened: { ...opened, view, text, events: [...opened.events, ...fresh] } };
}

function overHistory(state, task) {
  return state.opened?.task === task ? { ...state, opened: { ...state.opened, done: true } } : state;
}

function takeError(state, frame) {
  const opened = state.opened;
  if (opened?.task === frame.task && frame.topic === "task" && !frame.still_subscribed) {
    return { ...state, opened: { ...opened, error: frame.message } };
  }
  return frame.still_subscribed ? state : { ...state, notice: frame.message };
}

function takeSample(state, nowMs) {
  const tasks = Object.values(state.tasks ?? {});
  const seconds = state.sampledAtMs ? (nowMs - state.sampledAtMs) / 1000 : 1;
  const sample = {
    tokensPerS: state.tokensSinceSample / Math.max(seconds, 0.001),
    running: tasks.filter(isRunning).length,
    waiting: tasks.filter(isWaiting).length,
  };
  // Without a connection nothing is known, which is not the same as nothing going on.
  const known = state.connection.phase === "live" ? sample : { tokensPerS: null, running: null, waiting: null };
  return { ...state, tokensSinceSample: 0, sampledAtMs: nowMs, series: addSample(state.series, { atS: nowMs / 1000, ...known }) };
}
