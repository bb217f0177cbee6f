import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

import { SAMPLES, smoothRate } from "../state/series.js";
import * as format from "./format.js";
import { html } from "./html.js";
import { colour, onThemeChange } from "./theme.js";

const HEIGHT = 96;

export function Throughput({ series }) {
  const rate = smoothRate(series);
  return html`
    <figure class="plot panel">
      <figcaption>
        <h2>Throughput</h2>
        <p class="figure"><b data-testid="tokens-per-s">${known(rate, format.rate)}</b> tokens/s</p>
      </figcaption>
      <${Plot} at=${series.at} lines=${[series.tokensPerS]} colours=${["accent"]} label="Tokens per second, the last three minutes" />
    </figure>
  `;
}

export function Queue({ series }) {
  return html`
    <figure class="plot panel">
      <figcaption>
        <h2>Queue</h2>
        <p class="figure" data-kind="wait"><b data-testid="waiting">${known(series.waiting.at(-1), format.count)}</b> waiting</p>
        <p class="figure" data-kind="run"><b data-testid="running">${known(series.running.at(-1), format.count)}</b> running</p>
      </figcaption>
      <${Plot} at=${series.at} lines=${[series.running, series.waiting]} colours=${["run", "wait"]} stepped label="Tasks running and waiting, the last three minutes" />
    </figure>
  `;
}

function known(value, write) {
  return value === null || value === undefined ? "–" : write(value);
}

/** A plot of the last three minutes. uPlot draws it on a canvas, so it is told of every change by hand. */
function Plot({ at, lines, colours, stepped, label }) {
  const box = useRef(null);
  const plot = useRef(null);
  const data = useRef(null);
  data.current = [at, ...lines];

  useEffect(() => {
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(box.current.clientWidth, colours, stepped), data.current, box.current);
    };
    make();
    const stopTheme = onThemeChange(make);
    const resize = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    resize.observe(box.current);
    return () => {
      stopTheme();
      resize.disconnect();
      plot.current.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data.current), [at]);

  return html`<div class="canvas" ref=${box} role="img" aria-label=${label}></div>`;
}

function options(width, colours, stepped) {
  const ink = colour("ink-3");
  const grid = { stroke: colour("line"), width: 1 };
  const font = "11px Inter, sans-serif";
  return {
    width,
    height: HEIGHT,
    padding: [8, 14, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: false, range: (_, __, last) => [(last ?? 0) - SAMPLES, last ?? 0] },
      y: { range: (_, __, most) => [0, niceCeiling(most ?? 0)] },
    },
    axes: [
      { stroke: ink, font, size: 22, grid: { show: false }, ticks: { show: false }, splits: timeSplits, values: timeLabels },
      { stroke: ink, font, size: 36, grid, ticks: { show: false }, splits: (u) => [0, u.scales.y.max / 2, u.scales.y.max] },
    ],
    series: [{}, ...colours.map((token) => line(colour(token), stepped))],
  };
}

function line(stroke, stepped) {
  const paths = stepped ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.spline();
  return { stroke, width: 1.75, paths, points: { show: false }, fill: stroke.replace("rgb(", "rgba(").replace(")", ", 0.1)") };
}

/** The next of 4, 10, 20, 40, 100, …: so that the scale does not breathe with every sample. */
function niceCeiling(most) {
  let ceiling = 4;
  while (ceiling < most) ceiling *= ceiling.toString().startsWith("4") ? 2.5 : 2;
  return ceiling;
}

function timeSplits(plot) {
  const last = plot.scales.x.max;
  return [last - 180, last - 120, last - 60, last];
}

function timeLabels() {
  return ["3 min ago", "2 min", "1 min", "now"];
}
