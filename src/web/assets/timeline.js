// A job's life as bars over time, an attempt a row, and the same as a table.

import { duration, el, scale, table, utc } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
/** As wide as there is room, in pixels of the style sheet. */
const NARROWEST = 300;
const WIDEST = 2400;
/** What stands around it: padding and border. */
const AROUND = 36;
/** Room for the words of one mark. */
const MARK = 96;
const LEFT = 74;
const ROW = 26;
const BAR = 16;
/** Attempts that are drawn, at most: the last ones. The table has all. */
const MAX_ROWS = 30;
/** Distances between marks of the time axis, in seconds. */
const STEPS = [60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

const PHASES = [["waiting", "Waiting"], ["scheduled", "Scheduled"], ["starting", "Starting"], ["running", "Running"]];

/** How wide it is drawn now. */
export function roomFor() {
  const room = document.getElementById("main").clientWidth / scale() - AROUND;
  return Math.round(Math.min(WIDEST, Math.max(NARROWEST, room)));
}

/** The timeline of `spans`, which are `{phase, attempt, from, to}`; `now` is in milliseconds. */
export function timeline(spans, now) {
  if (spans.length === 0) return el("p", { class: "empty" }, "Its times are not known.");
  const end = (span) => (span.to === null ? now : Date.parse(span.to));
  const [begin, last] = [Date.parse(spans[0].from), Math.max(...spans.map(end))];
  const attempts = [...new Set(spans.map(({ attempt }) => attempt))].slice(-MAX_ROWS);
  const width = roomFor();
  const height = attempts.length * ROW + 22;
  const x = (at) => LEFT + ((width - LEFT - 8) * (at - begin)) / (last - begin || 1);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": inWords(spans, end) });
  for (const tick of ticks(begin, last, Math.floor((width - LEFT) / MARK))) {
    svg.append(node("line", { class: "tick", x1: x(tick), x2: x(tick), y1: 0, y2: height - 18 }),
      x(tick) < width - 72 ? node("text", { x: x(tick) + 3, y: height - 5 }, tickWords(tick, last - begin)) : "");
  }
  attempts.forEach((attempt, row) => {
    svg.append(node("text", { x: 0, y: row * ROW + 17 }, `Attempt ${attempt}`));
    for (const span of spans.filter((one) => one.attempt === attempt)) {
      const [from, to] = [x(Date.parse(span.from)), x(end(span))];
      const bar = node("rect", { class: `phase-${span.phase}`, x: from, y: row * ROW + 4, width: Math.max(1.5, to - from), height: BAR, rx: 2 });
      bar.append(node("title", {}, `${span.phase}, ${duration((end(span) - Date.parse(span.from)) / 1000)} from ${utc(Date.parse(span.from))} UTC`));
      svg.append(bar);
    }
  });
  const used = PHASES.filter(([phase]) => spans.some((span) => span.phase === phase));
  const legend = el("ul", { class: "key" }, ...used.map(([phase, label]) => el("li", {}, el("span", { class: `swatch phase-${phase}`, "aria-hidden": "true" }), label)));
  return el("div", { class: "panel" }, el("div", { class: "timeline", tabindex: "0", role: "region", "aria-label": "Timeline as bars" }, svg), legend,
    el("details", { class: "inset" }, el("summary", {}, "As a table"), asTable(spans, end)));
}

function asTable(spans, end) {
  const uncertain = (seconds) => (seconds > 0 ? el("span", { class: "faint" }, ` (up to ${duration(seconds)} earlier)`) : "");
  return table("Timeline", [
    { title: "Phase", cell: ({ phase }) => phase },
    { title: "Attempt", number: true, cell: ({ attempt }) => attempt },
    { title: "From", cell: (span) => el("span", {}, `${utc(Date.parse(span.from))} UTC`, uncertain(span.from_uncertain_seconds)) },
    { title: "Lasted", number: true, cell: (span) => `${duration((end(span) - Date.parse(span.from)) / 1000)}${span.to === null ? " so far" : ""}` },
  ], spans);
}

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(begin, last, most) {
  const step = 1000 * (STEPS.find((seconds) => (last - begin) / 1000 / seconds <= most) ?? STEPS.at(-1));
  const first = Math.ceil(begin / step) * step;
  const all = [];
  for (let at = first; at <= last && all.length <= most; at += step) all.push(at);
  return all;
}

function tickWords(at, span) {
  const text = utc(at);
  return span > 3 * 86400000 ? text.slice(5, 10) : text.slice(5, 16);
}

/** Times by phase, for those who do not see the bars. */
function inWords(spans, end) {
  const of = (phase) => spans.filter((span) => span.phase === phase).reduce((sum, span) => sum + end(span) - Date.parse(span.from), 0) / 1000;
  return `Timeline: ${PHASES.filter(([phase]) => of(phase) > 0).map(([phase]) => `${duration(of(phase))} ${phase}`).join(", ")}.`;
}
