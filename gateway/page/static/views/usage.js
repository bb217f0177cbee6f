import { useEffect, useRef, useState } from "preact/hooks";

import { addUp, decimalOf } from "../state/usage.js";
import { readUsage } from "../wire/usage.js";
import { closeSide } from "./address.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { cross, useEscape } from "./leaving.js";

const RANGES = [7, 30];

/**
 * What the account has used and paid.
 * @param {{locked: boolean, session: import("../wire/session.js").Session}} props
 */
export function Usage({ locked, session }) {
  const title = useRef(null);
  const [days, setDays] = useState(RANGES[0]);
  const [sums, trouble] = useSums(days, session);
  useEffect(() => title.current.focus(), []);
  useEscape(closeSide);
  return html`
    <section class="history usage" role="dialog" aria-labelledby="usage-title" data-testid="usage" inert=${locked}>
      <div class="history-head">
        <h2 id="usage-title" ref=${title} tabindex="-1">Usage</h2>
        <div class="ranges" role="group" aria-label="How many days">
          ${RANGES.map((each) => html`<button class="small" aria-pressed=${each === days} onClick=${() => setDays(each)}>${each} days</button>`)}
        </div>
        <button class="quiet" aria-label="Close the usage" onClick=${closeSide}>${cross}</button>
      </div>
      ${trouble && html`<p class="trouble" role="alert">${trouble}</p>`}
      ${sums && html`<${Sums} sums=${sums} />`}
    </section>
  `;
}

function useSums(days, session) {
  const [found, setFound] = useState({ sums: null, trouble: "" });
  useEffect(() => {
    const abort = new AbortController();
    readUsage(days, session.fetch, abort.signal).then(
      ({ usage, costs }) => setFound({ sums: addUp(usage, costs), trouble: "" }),
      (error) => abort.signal.aborted || setFound({ sums: null, trouble: error.message }),
    );
    return () => abort.abort();
  }, [days]);
  return [found.sums, found.trouble];
}

function Sums({ sums }) {
  const { days, models, total } = sums;
  if (models.length === 0) return html`<p class="aside">Nothing was used on these days.</p>`;
  return html`
    <dl class="facts">
      <div><dt>Cost</dt><dd data-testid="usage-cost">${costOf(total)}</dd></div>
      <div><dt>Requests</dt><dd>${format.count(total.requests)}</dd></div>
      <div><dt>Tokens read</dt><dd>${format.count(total.input)}</dd></div>
      <div><dt>Tokens written</dt><dd>${format.count(total.output)}</dd></div>
      ${total.cachedAnswers > 0 && html`<div><dt>Cached answers</dt><dd>${format.count(total.cachedAnswers)}</dd></div>`}
    </dl>
    <${Days} days=${days} />
    <${Models} models=${models} />
  `;
}

/** A column for each day: tokens, since days may have no price, or several currencies. */
function Days({ days }) {
  const most = Math.max(...days.map(tokensOf));
  return html`
    <h3>Tokens by day</h3>
    <ol class="columns" style=${{ "--days": days.length }}>
      ${days.map(
        (day) => html`
          <li title=${about(day)}>
            <span class="unseen">${about(day)}</span>
            <i style=${{ height: `${most > 0 ? (100 * tokensOf(day)) / most : 0}%` }}></i>
          </li>
        `,
      )}
    </ol>
    <p class="columns-foot"><span>${dayOf(days[0])}</span><span>${dayOf(days.at(-1))}</span></p>
  `;
}

function Models({ models }) {
  return html`
    <h3 id="usage-models">By model</h3>
    <table class="sums" aria-labelledby="usage-models">
      <thead>
        <tr><th scope="col">Model</th><th scope="col">Requests</th><th scope="col">Read</th><th scope="col">Written</th><th scope="col">Cost</th></tr>
      </thead>
      <tbody>
        ${models.map(
          (sum) => html`
            <tr>
              <th scope="row">${sum.model}</th>
              <td>${format.count(sum.requests)}${sum.cachedAnswers > 0 && html`<small>+${format.count(sum.cachedAnswers)} cached</small>`}</td>
              <td>${format.count(sum.input)}${sum.cached > 0 && html`<small>${format.count(sum.cached)} cached</small>`}</td>
              <td>${format.count(sum.output)}</td>
              <td>${costOf(sum)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
    <p class="aside">Days are those of UTC. What a task cost shows when it has ended; the same is at <code>/v1/usage</code> and <code>/v1/usage/costs</code>.</p>
  `;
}

function costOf({ costs }) {
  const told = Object.entries(costs).map(([currency, nano]) => `${decimalOf(nano)} ${currency}`);
  return told.join(" + ") || "–";
}

function tokensOf({ input, output }) {
  return input + output;
}

function dayOf({ start }) {
  return new Date(start * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
}

function about(day) {
  const cost = costOf(day);
  return `${dayOf(day)}: ${format.plural(tokensOf(day), "token")}${cost === "–" ? "" : `, ${cost}`}`;
}
