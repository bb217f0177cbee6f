// The smallest reader of the websocket that is still right: it shows every task with its answer so far and comes back after
// a drop. docs/websocket.md explains the frames.

const gateway = new URLSearchParams(location.search).get("gateway") ?? "127.0.0.1:8080";
const state = document.getElementById("state");
const list = document.getElementById("tasks");
const shown = new Map(); // task id -> { item, n }

let pauseMs = 250;

function connect() {
  const socket = new WebSocket(`ws://${gateway}/ws`, ["ig3.v1.json"]);
  socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", id: 1, topic: "tasks" }));
  socket.onmessage = (message) => take(JSON.parse(message.data));
  socket.onclose = ({ code, reason }) => {
    const final = code === 1009 || (code >= 4400 && code < 4500);
    state.textContent = final ? `refused: ${reason}` : "reconnecting";
    if (final) return;
    setTimeout(connect, pauseMs);
    pauseMs = Math.min(5000, pauseMs * 2);
  };
}

function take(frame) {
  if (frame.type === "tasks") {
    pauseMs = 250;
    state.textContent = "live";
    if (frame.reset) forgetAll();
    for (const view of frame.tasks) show(view.task, view.n, `${view.prompt} → `, view.tail ?? "");
  } else if (frame.type === "events") {
    for (const { task, event } of frame.events) add(task, event);
  }
}

function forgetAll() {
  list.replaceChildren();
  shown.clear();
}

function show(task, n, question, answer) {
  const item = document.createElement("li");
  item.append(question, answer);
  list.prepend(item);
  shown.set(task, { item, n });
}

function add(task, event) {
  const known = shown.get(task);
  if (!known || event.n <= known.n) return;
  known.n = event.n;
  if (event.type === "task.chunk.v1") known.item.append(event.text);
  if (event.type === "task.ended.v1") known.item.append(` (${event.outcome})`);
}

connect();
