import { useEffect, useState } from "preact/hooks";

import { usageInAddress } from "./address.js";
import { Chat } from "./chat.js";
import { Header } from "./header.js";
import { History } from "./history.js";
import { html } from "./html.js";
import { Nodes } from "./nodes.js";
import { Queue, Throughput } from "./plots.js";
import { SignIn } from "./sign-in.js";
import { Tasks } from "./tasks.js";
import { Usage } from "./usage.js";

/**
 * @param {{store: import("../state/store.js").Store, socket: import("../wire/socket.js").MeshSocket,
 *   session: import("../wire/session.js").Session}} props
 */
export function App({ store, socket, session }) {
  const [state, show] = useState(store.state);
  useEffect(() => store.subscribe(show), [store]);
  const showsUsage = useUsageInAddress();
  const locked = state.session.phase === "out";
  // Whoever was signed in finds everything where it was, behind the panel.
  const hasBoard = !locked || state.session.who !== null;
  return html`
    ${!locked && html`<a class="skip" href="#tasks-title">Skip to the tasks</a>`}
    <${Header} state=${state} session=${session} />
    ${locked && html`<${SignIn} reason=${state.session.reason} over=${hasBoard} session=${session} />`}
    ${hasBoard && html`<${Board} state=${state} locked=${locked} />`}
    ${hasBoard && html`<${Chat} key=${state.visitor} models=${state.models} tasks=${state.tasks} locked=${locked} socket=${socket} session=${session} />`}
    ${hasBoard && state.opened && html`<${History} key=${state.opened.task} opened=${state.opened} known=${state.tasks?.[state.opened.task]} locked=${locked} socket=${socket} />`}
    ${hasBoard && showsUsage && html`<${Usage} key=${state.visitor} locked=${locked} session=${session} />`}
  `;
}

function useUsageInAddress() {
  const [shows, setShows] = useState(usageInAddress());
  useEffect(() => {
    const look = () => setShows(usageInAddress());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return shows;
}

function Board({ state, locked }) {
  return html`
    <main class="board" inert=${locked}>
      <div class="plots">
        <${Throughput} series=${state.series} />
        <${Queue} series=${state.series} />
      </div>
      <${Nodes} nodes=${state.nodes} />
      <${Tasks} tasks=${state.tasks} opened=${state.opened?.task} />
    </main>
  `;
}
