import { render } from "preact";

import { Store } from "./state/store.js";
import { taskInAddress } from "./views/address.js";
import { App } from "./views/app.js";
import { html } from "./views/html.js";
import { applyTheme } from "./views/theme.js";
import { Session } from "./wire/session.js";
import { MeshSocket } from "./wire/socket.js";

const PATIENCE_MS = 600;

applyTheme();

const store = new Store();

const session = new Session({
  changed: (state) => store.dispatch({ type: "page.session", session: state }),
  entered: (isSame) => {
    if (isSame) return socket.authenticate();
    forget();
    socket.connect();
  },
  aheadMs: () => store.state.aheadMs,
  out: () => socket.disconnect(),
  left: () => {
    history.replaceState(null, "", location.pathname + location.search);
    forget();
  },
});

const socket = new MeshSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, session, {
  frame: (frame) => store.dispatch(frame),
  connection: (connection) => {
    store.dispatch({ type: "page.connection", connection });
    if (connection.phase !== "connecting") show();
  },
});

// Once, and only when the gateway has said whether it asks who is there: so neither board nor sign-in shows in vain.
let shown = false;
function show() {
  if (shown) return;
  shown = true;
  render(html`<${App} store=${store} socket=${socket} session=${session} />`, document.getElementById("page"));
}

for (const topic of ["nodes", "models", "tasks"]) socket.subscribe(topic);
socket.connect();
setTimeout(show, PATIENCE_MS);
setInterval(() => store.dispatch({ type: "page.second" }), 1000);

function openFromAddress() {
  const task = taskInAddress();
  const opened = store.state.opened?.task;
  if (opened && opened !== task) {
    socket.unsubscribe("task", opened);
    store.dispatch({ type: "page.close" });
  }
  if (task && opened !== task) {
    store.dispatch({ type: "page.open", task });
    socket.subscribe("task", task);
  }
}

/** Nothing of whoever was here before stays for whoever comes. */
function forget() {
  socket.forgetTasks();
  store.dispatch({ type: "page.forget" });
  openFromAddress();
}

addEventListener("hashchange", openFromAddress);
openFromAddress();
