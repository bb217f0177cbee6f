import { useEffect, useState } from "preact/hooks";

import { Chat } from "./chat.js";
import { Header } from "./header.js";
import { History } from "./history.js";
import { html } from "./html.js";
import { Nodes } from "./nodes.js";
import { Queue, Throughput } from "./plots.js";
import { Tasks } from "./tasks.js";

/** @param {{store: import("../state/store.js").Store, socket: import("../wire/socket.js").MeshSocket}} props */
export function App({ store, socket }) {
  const [state, show] = useState(store.state);
  useEffect(() => store.subscribe(show), [store]);
  return html`
    <a class="skip" href="#tasks-title">Skip to the tasks</a>
    <${Header} state=${state} />
    <main class="board">
      <div class="plots">
        <${Throughput} series=${state.series} />
        <${Queue} series=${state.series} />
      </div>
      <${Nodes} nodes=${state.nodes} />
      <${Tasks} tasks=${state.tasks} opened=${state.opened?.task} />
    </main>
    <${Chat} models=${state.models} tasks=${state.tasks} socket=${socket} />
    ${state.opened && html`<${History} key=${state.opened.task} opened=${state.opened} known=${state.tasks?.[state.opened.task]} socket=${socket} />`}
  `;
}
