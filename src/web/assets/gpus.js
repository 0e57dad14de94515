// Where a queue's GPUs are: a bar for now, and the last hour behind it.

import { amount, count, duration, el, empty, percent } from "./format.js";

/** The parts in the order in which they are stacked: from well used to not used. */
const PARTS = [
  ["running_busy", "Running, busy"],
  ["running_unknown", "Running, unknown"],
  ["running_idle", "Running, idle"],
  ["starting", "Starting"],
  ["scheduled", "Scheduled"],
  ["other_queues", "Other queues"],
  ["unallocated", "Unallocated"],
];

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;
const MAX_POINTS = 400;

/** What was seen of each queue since the page was opened: `[{at, parts}]`, oldest first. */
const seen = new Map();

/** Keeps a tick for the history; `at` and `span` are in milliseconds of the service's clock. */
export function remember(waterfall, at, span) {
  for (const { queue, parts } of waterfall) {
    const points = seen.get(queue) ?? [];
    const last = points.at(-1);
    if (last && at < last.at) points.length = 0; // The service began anew.
    if (!last || at !== last.at) points.push({ at, parts });
    while (points.length > MAX_POINTS || points[0].at < at - span) points.shift();
    seen.set(queue, points);
  }
}

/** The bar, its legend and its history. */
export function waterfall({ queue, capacity_gpus: capacity, parts }, span) {
  const shown = named(parts);
  const total = shown.reduce((sum, { gpus }) => sum + gpus, 0);
  if (total === 0) return empty(capacity === null ? "GPU capacity unknown." : "No GPUs.");
  const words = shown.map(({ label, gpus }) => `${label} ${amount(gpus)}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", "aria-label": `GPUs of ${queue}: ${words}` },
    ...shown.filter(({ gpus }) => gpus > 0).map(({ part, label, gpus }) => {
      const piece = el("span", { class: `piece part-${part}`, title: `${label}: ${amount(gpus)}` });
      piece.style.flexGrow = gpus;
      return piece;
    }));
  const legend = el("ul", { class: "legend" }, ...shown.map(({ part, label, gpus }) =>
    el("li", { class: gpus > 0 ? "" : "zero" },
      el("span", { class: `swatch part-${part}`, "aria-hidden": "true" }),
      el("span", { class: "name" }, label),
      el("span", { class: "number" }, amount(gpus)),
      el("span", { class: "number faint" }, percent(gpus, total)))));
  const sum = el("p", { class: "sum" }, count(total, "GPU"));
  if (capacity !== null && Math.abs(capacity - total) > 0.01) {
    sum.append(el("span", { class: "warn" }, ` but the capacity is ${amount(capacity)}`));
  }
  return el("div", { class: "gpus" },
    el("div", {}, el("h4", {}, "GPUs now"), sum, bar, legend),
    el("figure", {}, el("figcaption", {}, el("h4", {}, "GPUs, last hour")), history(queue, total, span)));
}

/** Parts in stacking order; those this page does not know come last. */
function named(parts) {
  const known = PARTS.filter(([part]) => part in parts).map(([part, label]) => ({ part, label, gpus: parts[part] }));
  const others = Object.keys(parts).filter((part) => !PARTS.some(([name]) => name === part));
  return [...known, ...others.map((part) => ({ part: "other", label: part.replaceAll("_", " "), gpus: parts[part] }))];
}

/** Stacked areas over `span` milliseconds, the newest tick at the right edge. */
function history(queue, total, span) {
  const points = seen.get(queue) ?? [];
  if (points.length < 3) return empty("No data yet: this chart starts when the page is opened.");
  const end = points.at(-1).at;
  const begin = Math.max(end - span, points[0].at);
  const highest = Math.max(total, ...points.map(({ parts }) => Object.values(parts).reduce((a, b) => a + b, 0)));
  const x = (at) => (WIDTH * (at - begin)) / (end - begin || 1);
  const y = (gpus) => HEIGHT - (HEIGHT * gpus) / highest;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Where the GPUs of ${queue} were in the last ${duration((end - begin) / 1000)}`);
  const floor = points.map(() => 0);
  for (const [part] of PARTS) {
    const lower = points.map(({ at }, i) => `${x(at).toFixed(1)},${y(floor[i]).toFixed(1)}`);
    points.forEach(({ parts }, i) => { floor[i] += parts[part] ?? 0; });
    const upper = points.map(({ at }, i) => `${x(at).toFixed(1)},${y(floor[i]).toFixed(1)}`);
    const area = document.createElementNS(SVG, "polygon");
    area.setAttribute("points", [...upper, ...lower.reverse()].join(" "));
    area.setAttribute("class", `part-${part}`);
    svg.append(area);
  }
  return el("div", { class: "history" }, svg,
    el("div", { class: "axis" }, el("span", {}, `${duration((end - begin) / 1000)} ago`), el("span", {}, "now")));
}
