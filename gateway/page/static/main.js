import { render } from "preact";

import { Store } from "./state/store.js";
import { taskInAddress } from "./views/address.js";
import { App } from "./views/app.js";
import { html } from "./views/html.js";
import { applyTheme } from "./views/theme.js";
import { MeshSocket } from "./wire/socket.js";

applyTheme();

const store = new Store();
const socket = new MeshSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
  frame: (frame) => store.dispatch(frame),
  connection: (connection) => store.dispatch({ type: "page.connection", connection }),
});

for (const topic of ["nodes", "models", "tasks"]) socket.subscribe(topic);
socket.connect();
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

addEventListener("hashchange", openFromAddress);
openFromAddress();

render(html`<${App} store=${store} socket=${socket} />`, document.getElementById("page"));
