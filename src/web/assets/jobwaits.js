// What a job waited for: each of its waits by reason, and how its share stood meanwhile.

import { askMaybe, withParameters } from "./api.js";
import { duration, el, empty, percent, sharePath, queuePath, link, utc } from "./format.js";
import { duringAWait, isEmpty } from "./overtime.js";
import { reasonColour, reasonWords } from "./labels.js";

/** Figures over time are asked for anew when so much of their time has gone by. */
const STEPS = 200;
/** What of a wait was not watched is named if it is longer than this, in seconds and as a part of the wait: polls are some time apart. */
const SHORTEST_UNWATCHED = 60;
const UNWATCHED_PART = 0.02;
/** How much is shown before a wait, as a part of it. */
const BEFORE = 0.1;
/** A shorter time is not shown: in seconds. */
const SHORTEST = 900;
const METRICS = ["queue.waiting", "share.quota", "share.used", "share.borrowed", "share.lent", "gpu.unallocated"];

/** The waits of a job, the present one last: `{attempt, from, to, reasons}`, with reasons as `[code, seconds]`, the longest first. */
export function waitsOf(job) {
  return job.spans.filter(({ phase }) => phase === "waiting").map(({ attempt, from, to, waited_seconds: over }) => {
    const waited = to === null ? job.why?.waited_seconds ?? {} : over ?? {};
    return { attempt, from, to, reasons: Object.entries(waited).filter(([, seconds]) => seconds >= 1).sort(([, a], [, b]) => b - a) };
  });
}

/** One bar a wait, by reason. */
export function waitBars(waits, now) {
  if (waits.every(({ reasons }) => reasons.length === 0)) return empty("None of its waits was observed: they ended before the service saw the job, or were shorter than a poll.");
  return el("div", { class: "panel inset waits" }, ...waits.map((wait) => oneWait(wait, waits.length, now)));
}

function oneWait({ attempt, from, to, reasons }, count, now) {
  const seconds = ((to === null ? now : Date.parse(to)) - Date.parse(from)) / 1000;
  const unwatched = seconds - reasons.reduce((sum, [, part]) => sum + part, 0);
  const parts = reasons.map(([code, part]) => [reasonWords(code), part, `var(${reasonColour(code)})`]);
  if (unwatched > Math.max(SHORTEST_UNWATCHED, UNWATCHED_PART * seconds)) parts.push(["Not watched", unwatched, "var(--unallocated)"]);
  const all = parts.reduce((sum, [, part]) => sum + part, 0);
  const words = parts.map(([name, part]) => `${name} ${duration(part)}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", "aria-label": words }, ...parts.map(([name, part, colour]) => {
    const piece = el("span", { class: "piece", title: `${name}: ${duration(part)}` });
    piece.style.flexGrow = part;
    piece.style.background = colour;
    return piece;
  }));
  const verb = to === null ? "waits" : "waited";
  const title = count > 1 ? `Before attempt ${attempt}: ${verb} ${duration(seconds)}` : `${verb.replace("w", "W")} ${duration(seconds)}`;
  return el("div", { class: "one-wait" },
    el("h3", { class: "minor" }, title, el("span", { class: "faint" }, ` from ${utc(Date.parse(from)).slice(0, 16)} UTC`)),
    bar,
    el("ul", { class: "legend" }, ...parts.map(([name, part, colour]) => {
      const mark = el("span", { class: "swatch", "aria-hidden": "true" });
      mark.style.background = colour;
      return el("li", {}, mark, el("span", { class: "name" }, name), el("span", { class: "number" }, duration(part)), el("span", { class: "number faint" }, percent(part, all)));
    })));
}

let past = null;

/** How the job's share stood while it waited last, from what was recorded; `null` where that cannot be read. */
export async function meanwhile(job, now) {
  const wait = waitsOf(job).at(-1);
  if (!wait) return null;
  const [began, ended] = [Date.parse(wait.from) / 1000, wait.to === null ? now / 1000 : Date.parse(wait.to) / 1000];
  const span = Math.max(SHORTEST, ended - began);
  const chosen = { from: Math.floor(ended - span * (1 + BEFORE)), to: Math.ceil(ended) };
  const key = JSON.stringify([wait.from, wait.to]);
  if (past?.key === key && (chosen.to - past.chosen.to) < span / STEPS) return past;
  const iso = (seconds) => new Date(seconds * 1000).toISOString();
  const of = { queue: job.queue, share: job.share, account: job.account, region: job.region };
  const views = await askMaybe(withParameters("api/v1/histories", { metrics: METRICS.join(","), from: iso(chosen.from), to: iso(chosen.to), ...of })).catch(() => null);
  const mark = { rule: "this job waits", fired_at: wait.from, resolved_at: wait.to ?? iso(chosen.to), colour: "--accent" };
  past = views === null ? null : { key, chosen, views, marks: [mark] };
  return past;
}

let drawn = null;

/** Draws that into a place: left alone while it shows the same. */
export function drawMeanwhile(host, past, job) {
  if (drawn === past && host.hasChildNodes()) return;
  drawn = past;
  if (past === null) return host.replaceChildren(empty("History is not available now."));
  if (isEmpty(past.views)) return host.replaceChildren(empty("Nothing was recorded in this time."));
  const charts = el("div", { class: "charts" });
  const iso = (seconds) => new Date(seconds * 1000).toISOString();
  const time = { from: iso(past.chosen.from), to: iso(past.chosen.to) };
  const more = job.share ? link(sharePath(job.queue, job.share, job, time), "More of its share in this time") : link(queuePath(job.queue, job, time), "More of its queue in this time");
  host.replaceChildren(charts, el("p", { class: "faint under" }, "The bar at the top is this wait. ", more));
  duringAWait(charts, { views: past.views, chosen: past.chosen, alerts: past.marks, share: job.share ?? "" });
}
