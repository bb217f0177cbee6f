import { Bar } from "./bar.js";
import * as format from "./format.js";
import { html } from "./html.js";

// More would not fit beside the numbers.
const CELLS_AT_MOST = 8;

/** @param {{nodes: Record<string, object> | null}} props null until the gateway has told */
export function Nodes({ nodes }) {
  const all = Object.values(nodes ?? {}).sort((a, b) => Number(b.live) - Number(a.live) || a.node.localeCompare(b.node));
  const live = all.filter((node) => node.live).length;
  return html`
    <section class="panel" aria-labelledby="nodes-title">
      <div class="panel-head">
        <h2 id="nodes-title">Nodes</h2>
        ${all.length > 0 && html`<p class="aside">${live} of ${all.length} live</p>`}
      </div>
      ${nodes && all.length === 0 && html`<${NoNode} />`}
      ${all.length > 0 && html`<ul class="rows" data-testid="nodes">${all.map((node) => html`<${Node} key=${node.node} node=${node} />`)}</ul>`}
    </section>
  `;
}

function NoNode() {
  return html`
    <div class="empty">
      <p><b>No node yet.</b> Start one on this machine, or on any other that reaches the broker (usually at port 4222) and has its nodes’ credential:</p>
      <pre><code>ig3 node --nats ${location.hostname}:4222</code></pre>
      <p>What is asked meanwhile waits in the queue.</p>
    </div>
  `;
}

function Node({ node }) {
  const loads = Object.fromEntries((node.status?.replicas ?? []).map((load) => [load.model, load]));
  const state = node.live ? (node.status?.draining ? "draining" : "live") : "gone";
  return html`
    <li class="node" data-state=${state} data-testid=${`node-${node.node}`}>
      <div class="node-name">
        <span class="dot" aria-hidden="true"></span>
        <b>${node.node}</b>
        <span class="aside">${{ live: "", draining: "draining", gone: "not here" }[state]}</span>
      </div>
      ${node.replicas.map((replica) => html`<${ReplicaLine} key=${replica.model} replica=${replica} load=${loads[replica.model]} live=${node.live} />`)}
      ${node.replicas.length === 0 && html`<p class="aside">serves no model</p>`}
    </li>
  `;
}

function ReplicaLine({ replica, load, live }) {
  const busy = live ? (load?.busy ?? 0) : 0;
  const speed = load?.tokens_per_s || 0;
  return html`
    <div class="replica">
      <span class="replica-model" title=${about(replica)}>${replica.model}</span>
      <${Slots} busy=${busy} slots=${replica.slots} />
      <span class="number">${busy}/${replica.slots} <small>busy</small></span>
      <span class="number">${busy > 0 && speed > 0 ? format.rate(speed) : "–"} <small>tok/s</small></span>
      <span class="number wide">${replica.tokens_per_s ? format.rate(replica.tokens_per_s) : "–"} <small>tok/s at start</small></span>
      <span class="number wide">${replica.memory_bytes && format.bytes(replica.memory_bytes)}</span>
    </div>
  `;
}

function Slots({ busy, slots }) {
  if (slots > CELLS_AT_MOST) return html`<${Bar} value=${busy} of=${slots} label=${`${busy} of ${slots} slots in use`} />`;
  const cells = Array.from({ length: slots }, (_, index) => html`<i data-busy=${index < busy}></i>`);
  return html`<span class="slots" role="img" aria-label=${`${busy} of ${slots} slots in use`}>${cells}</span>`;
}

function about(replica) {
  const facts = [`engine ${replica.engine}`, `${format.count(replica.context_tokens)} tokens of context`];
  if (replica.quantisation) facts.push(replica.quantisation);
  if (replica.parameters) facts.push(`${format.count(replica.parameters / 1e6)} M parameters`);
  return facts.join(", ");
}
