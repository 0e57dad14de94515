// Charts over time, drawn by uPlot from recorded figures. Where nothing was recorded there is a gap. Hovering shows values, dragging zooms,
// and a line of text says for readers that see no picture what the chart shows.

import { address } from "./api.js";
import { amount, el, measure, scale, utc } from "./format.js";

const HEIGHT = 170;
/** Moments further apart than so many times the usual distance have a gap between them. */
const GAP = 3;
/** What axes of durations are divided by, in seconds. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2592000];

/** What axes of whole things are divided by. */
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((first) => first * 10 ** power));
/** What an axis shows at least, so that nothing looks like much. */
const SMALLEST = { seconds: 60, ratio: 0.1 };

/** Colours of series that have none of their own, as named in the style sheet. */
const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--series-7", "--series-8"];

/** Units that the title of a chart names: its axis has numbers only. */
const COUNTED = ["count", "gpus", "instances"];

/** Alerts whose time is shaded well; more would hide what they are about. */
const MARKS_SHADED = 2;

let library = null;

/** Loads uPlot once, as a plain script: it is served as it was released. */
function uplot() {
  library ??= new Promise((resolve, reject) => {
    const script = el("script", { src: address("assets/vendor/uPlot.iife.min.js") });
    script.addEventListener("load", () => resolve(globalThis.uPlot));
    script.addEventListener("error", () => reject(new Error("the charts cannot be loaded")));
    document.head.append(script);
  });
  return library;
}

/** Charts by the element they stand in, to be taken down when others come. */
const standing = new WeakMap();

/**
 * A chart. `at` are moments in seconds, `series` are `{label, values, colour?, dash?}` with a value or null for each moment; with `stacked` they
 * add up. `range` is `[from, to]` in seconds, `step` the seconds between two moments. `threshold` is drawn as a line, `marks` as
 * `{from, to, label}` at the top. `onZoom(from, to)` is called when somebody drags.
 */
export function chart(host, spec) {
  const { title, at, series, range, unit } = spec;
  const shown = series.filter(({ values }) => values.some((value) => value !== null));
  const caption = el("figcaption", {}, title);
  if (shown.length === 0) {
    host.replaceChildren(el("figure", { class: "chart" }, caption, el("p", { class: "empty" }, spec.empty ?? "No data in this period.")));
    return;
  }
  const [moments, columns] = withGaps(at, shown.map(({ values }) => values), spec.step);
  const colours = shown.map(({ colour }, index) => colour ?? COLOURS[index % COLOURS.length]);
  const canvas = el("div", { class: "canvas", role: "img", "aria-label": inWords(title, shown, unit) });
  const values = shown.map(() => el("span", { class: "value" }));
  const when = el("span", { class: "when faint" });
  const legend = el("ul", { class: "chart-legend" },
    ...shown.map(({ label }, index) => {
      const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = `var(${colours[index]})`;
      return el("li", {}, swatch, el("span", { class: "name" }, label), values[index]);
    }), el("li", { class: "at" }, when));
  host.replaceChildren(el("figure", { class: "chart" }, caption, canvas, legend));
  const showValues = (index) => {
    const last = index === null || index === undefined;
    const place = last ? lastKnown(columns) : index;
    when.textContent = place === null ? "" : last ? `latest, ${utc(moments[place] * 1000).slice(5, 16)}` : `${utc(moments[place] * 1000)} UTC${markAt(spec.marks, moments[place])}`;
    values.forEach((node, column) => { node.textContent = place === null ? "" : measure(columns[column][place], unit); });
  };
  showValues(null);
  draw(canvas, { ...spec, series: shown, range, moments, columns, colours, showValues }).catch((reason) => canvas.append(el("p", { class: "empty" }, reason.message)));
}

async function draw(canvas, spec) {
  const Plot = await uplot();
  if (!canvas.isConnected) return;
  const { moments, columns, colours, stacked, showValues, onZoom, unit } = spec;
  const data = stacked ? stack(columns) : columns;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const order = data.map((_, index) => index);
  if (stacked) order.reverse();
  const axis = { stroke: () => colour("--faint"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { stroke: () => colour("--line"), width: 1 }, font: `${11 * scale()}px system-ui, sans-serif` };
  const options = {
    width: Math.max(200, canvas.clientWidth),
    height: HEIGHT * scale(),
    legend: { show: false },
    tzDate: (seconds) => Plot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { drag: { x: Boolean(onZoom), y: false, setScale: false }, points: { size: 6 * scale() } },
    scales: { x: { time: true, range: () => spec.range }, y: { range: (_, low, high) => limits(low, high, spec.threshold, unit) } },
    axes: [{ ...axis, size: 30 * scale(), space: 64 * scale(), values: (_, ticks, __, ___, step) => ticks.map((tick) => tickWords(tick, step)) },
      { ...axis, size: 54 * scale(), ...steps(unit), values: (_, ticks) => ticks.map((tick) => (COUNTED.includes(unit) ? amount(tick) : measure(tick, unit))) }],
    series: [{}, ...order.map((index) => ({
      stroke: () => colour(colours[index]), width: (stacked ? 1 : 1.75) * scale(), dash: spec.series[index].dash, spanGaps: false,
      fill: stacked ? () => colour(colours[index]) : undefined, points: { show: alone(data[index]), size: 4 * scale() },
    }))],
    hooks: {
      setCursor: [(plot) => showValues(plot.cursor.idx)],
      setSelect: [(plot) => {
        if (plot.select.width > 4) onZoom?.(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
      }],
      draw: [(plot) => drawOver(plot, spec, colour)],
    },
  };
  standing.get(canvas)?.();
  const plot = new Plot(options, [moments, ...order.map((index) => data[index])], canvas);
  const observer = new ResizeObserver(() => {
    if (!canvas.isConnected) return take();
    const width = Math.max(200, canvas.clientWidth);
    if (width !== plot.width) plot.setSize({ width, height: HEIGHT * scale() });
  });
  observer.observe(canvas);
  const take = () => {
    observer.disconnect();
    plot.destroy();
  };
  standing.set(canvas, take);
}

/** The threshold as a dashed line, and alerts as bars at the top with a line where each fired. */
function drawOver(plot, { threshold, marks = [] }, colour) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { from, to, colour: named = "--bad" } of marks) {
    const left = plot.valToPos(from, "x", true);
    const right = Math.max(left + 2 * ratio, plot.valToPos(to, "x", true));
    ctx.fillStyle = colour(named);
    ctx.fillRect(left, bbox.top, right - left, 4 * ratio);
    ctx.globalAlpha = 0.55;
    ctx.fillRect(left, bbox.top, ratio, bbox.height);
    ctx.globalAlpha = marks.length > MARKS_SHADED ? 0.015 : 0.07;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
  }
  if (threshold !== null && threshold !== undefined) {
    const y = plot.valToPos(threshold, "y", true);
    ctx.strokeStyle = colour("--bad");
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

/** What an axis is divided by: what is counted by whole numbers, durations by what clocks show. */
function steps(unit) {
  if (unit === "seconds") return { incrs: SECONDS };
  return COUNTED.includes(unit) ? { incrs: WHOLE } : {};
}

/** The vertical axis begins at 0 unless there is something below, and takes in the threshold. */
function limits(low, high, threshold, unit) {
  const values = [low, high, threshold].filter((value) => Number.isFinite(value));
  const [least, most] = [Math.min(0, ...values), Math.max(...values, 0)];
  const shown = most === least ? least + 1 : most + (most - least) * 0.08;
  return [least, Math.max(shown, least + (SMALLEST[unit] ?? (COUNTED.includes(unit) ? 1 : 0)))];
}

/** Moments and values with an empty moment in each gap, so that no line crosses it. A gap is wider than steps and ticks usually are. */
function withGaps(at, columns, step) {
  const distances = at.slice(1).map((moment, index) => moment - at[index]).sort((a, b) => a - b);
  const usual = Math.max(step, distances[Math.floor(distances.length / 2)] ?? 0);
  const moments = [];
  const filled = columns.map(() => []);
  at.forEach((moment, index) => {
    if (index > 0 && moment - at[index - 1] > GAP * usual) {
      moments.push((moment + at[index - 1]) / 2);
      filled.forEach((column) => column.push(null));
    }
    moments.push(moment);
    filled.forEach((column, of) => column.push(columns[of][index]));
  });
  return [moments, filled];
}

/** Each series with all before it. A part that is missing where others are known counts as none. */
function stack(columns) {
  const sums = columns[0].map((_, index) => (columns.some((column) => column[index] !== null) ? 0 : null));
  return columns.map((column) => column.map((value, index) => {
    if (sums[index] === null) return null;
    sums[index] += value ?? 0;
    return sums[index];
  }));
}

function alone(values) {
  return values.filter((value) => value !== null).length === 1;
}

function lastKnown(columns) {
  for (let index = columns[0].length - 1; index >= 0; index -= 1) {
    if (columns.some((column) => column[index] !== null)) return index;
  }
  return null;
}

function markAt(marks = [], moment) {
  const labels = marks.filter(({ from, to }) => from <= moment && moment <= to).map(({ label }) => label);
  return labels.length ? ` · ${labels.slice(0, 3).join(", ")}` : "";
}

function tickWords(seconds, step) {
  const text = utc(seconds * 1000);
  if (step >= 86400) return text.slice(5, 10);
  return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
}

/** What a chart shows, for those who do not see it. */
function inWords(title, series, unit) {
  const of = ({ label, values }) => {
    const known = values.filter((value) => value !== null);
    return `${label}: from ${measure(Math.min(...known), unit)} to ${measure(Math.max(...known), unit)}, last ${measure(known.at(-1), unit)}`;
  };
  return `${title}. ${series.slice(0, 8).map(of).join("; ")}.`;
}
