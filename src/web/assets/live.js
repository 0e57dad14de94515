// What all pages have in common: the state of the service at the top, its clock at the bottom, and new content when there are new
// figures. A page that nobody looks at asks for nothing.

import { address, ApiError, ask } from "./api.js";
import { count, duration, el, tellApart, utc } from "./format.js";
import { forget } from "./token.js";
import { severityRank } from "./labels.js";

/** Between two questions whether there are new figures, in milliseconds. */
const SHORTEST_PAUSE = 2000;
const LONGEST_PAUSE = 5000;
const CLOCK_EVERY = 1000;
/** Between two times that a page loads itself anew because it is not let in, in milliseconds. */
const BETWEEN_RELOADS = 30000;
const RELOADED_AT = "trainspotter.reloaded_at";

const STATUS = {
  ok: ["good", "No alert fires"],
  degraded: ["warn", "Some sources fail"],
  starting: ["warn", "Starting"],
  stale: ["bad", "Stale"],
  unreachable: ["bad", "Unreachable"],
};

const byId = (id) => document.getElementById(id);

/** The latest answer, and when it came on this machine's steady clock. */
let latest = null;
let receivedAt = 0;
let timer = null;
let loaded = null;
let busy = false;
let page = { load: async () => null, draw: () => {} };
const title = document.title.replace(/^\(\d+\) /, "");
let subject = null;

/**
 * Shows a page and keeps it up to date. `load(tick)` asks for what it shows, whenever there are new figures; `draw(data, tick)` shows it.
 */
export function live(shown) {
  page = shown;
  markPlace();
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") poll();
    else clearTimeout(timer);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  addEventListener("resize", redraw);
  setInterval(showClock, CLOCK_EVERY);
  poll();
}

/** Asks for all that the page shows, for it is to show something else. */
export async function reload() {
  loaded = null;
  await poll();
}

/** The service's time in milliseconds. */
export function serviceNow() {
  return latest ? Date.parse(latest.now) + (performance.now() - receivedAt) * latest.clock_speed : Date.now();
}

/** Names the page in the title of its window. */
export function nameAs(words) {
  subject = words;
  showTitle();
}

let drawnFrom = null;

function redraw() {
  if (drawnFrom) page.draw(...drawnFrom);
}

async function poll() {
  clearTimeout(timer);
  if (busy) return;
  busy = true;
  try {
    latest = await ask("api/v1/tick");
    receivedAt = performance.now();
    tellApart(latest.targets);
    showState(latest.status);
    const key = `${latest.started_at} ${latest.ticked_at} ${JSON.stringify(latest.firing)}`;
    if (loaded !== key) {
      drawnFrom = [await page.load(latest), latest];
      loaded = key;
      redraw();
    }
  } catch (reason) {
    show(reason);
  }
  busy = false;
  document.body.dataset.loaded = loaded ? "true" : "false";
  if (document.visibilityState === "visible") timer = setTimeout(poll, pause());
}

/** Looked at a few times in the time between two ticks. */
function pause() {
  const between = latest ? (1000 * latest.tick_every_seconds) / latest.clock_speed : LONGEST_PAUSE;
  return Math.min(LONGEST_PAUSE, Math.max(SHORTEST_PAUSE, between / 6));
}

function show(reason) {
  // Without a token the page itself is asked for anew, and the service asks for one.
  if (reason instanceof ApiError && reason.status === 401 && mayReload()) {
    if (reason.code !== "login") forget();
    return location.reload();
  }
  console.warn(reason.message);
  if (reason instanceof ApiError && reason.status > 0) setBanner(reason.message);
  else showState("unreachable");
}

/** A page that loading anew does not help is not loaded again and again. */
function mayReload() {
  const last = Number(sessionStorage.getItem(RELOADED_AT) ?? 0);
  if (Date.now() - last < BETWEEN_RELOADS) return false;
  sessionStorage.setItem(RELOADED_AT, String(Date.now()));
  return true;
}

/** Marks the link to this page or to the pages it belongs to. */
function markPlace() {
  const own = location.pathname.replace(/\/$/, "");
  for (const link of document.querySelectorAll("header nav a")) {
    const path = new URL(link.href).pathname.replace(/\/$/, "");
    const root = new URL(address("./")).pathname.replace(/\/$/, "");
    if (path === own) link.setAttribute("aria-current", "page");
    else if (path !== root && own.startsWith(`${path}/`)) link.setAttribute("aria-current", "true");
  }
}

function showState(status) {
  const [mood, words] = summary(status);
  const pill = byId("status");
  if (pill.textContent !== words) pill.textContent = words;
  pill.className = `pill ${mood}`;
  document.body.classList.toggle("old", status === "stale" || status === "unreachable");
  setBanner(explain(status));
  byId("version").textContent = latest ? `Trainspotter ${latest.version}` : "Trainspotter";
  showTitle();
  showClock();
}

function showTitle() {
  const firing = firingCount();
  const named = subject ? `${subject} · Trainspotter` : title;
  document.title = firing ? `(${firing}) ${named}` : named;
}

function firingCount() {
  return Object.values(latest?.firing ?? {}).reduce((a, b) => a + b, 0);
}

/** What the page says of the service, worst first: nothing is well while an alert fires or a source fails. */
function summary(status) {
  if (!latest || status === "unreachable" || status === "stale") return STATUS[status] ?? ["warn", status];
  const firing = firingCount();
  const words = [];
  if (firing) words.push(`${count(firing, "alert")} firing`);
  if (status === "starting") words.push("starting");
  else if (latest.problems.length) words.push(count(latest.problems.length, "problem"));
  if (words.length === 0) return STATUS[status] ?? ["warn", status];
  const worst = Math.max(0, ...Object.keys(latest.firing).map(severityRank));
  return [worst >= 2 ? "bad" : "warn", words.join(", ").replace(/^./, (first) => first.toUpperCase())];
}

function explain(status) {
  const from = latest?.ticked_at ? ` The data below is from ${utc(Date.parse(latest.ticked_at))} UTC.` : "";
  if (status === "unreachable") return `Trainspotter does not respond.${from}`;
  if (status === "stale") return `Trainspotter responds, but its engine has not ticked recently: alerts are not evaluated.${from}`;
  if (status === "starting") return `The first poll is not complete: the data below is incomplete. ${latest.not_ready ?? ""}`;
  if (latest?.store_error) return `The state is not kept where it should be, and changes may be lost: ${latest.store_error}`;
  return null;
}

function setBanner(text) {
  const banner = byId("banner");
  banner.hidden = text === null;
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
}

/** The service's clock between two answers, so that ages grow even when nothing comes. */
function showClock() {
  if (!latest) return;
  const now = serviceNow();
  byId("now").textContent = `· ${utc(now)} UTC`;
  byId("now").setAttribute("datetime", new Date(now).toISOString());
  byId("age").textContent = latest.ticked_at ? `Figures ${duration((now - Date.parse(latest.ticked_at)) / 1000)} old` : "No data yet";
  const speed = byId("speed");
  speed.hidden = latest.clock_speed === 1;
  speed.textContent = `×${latest.clock_speed}`;
  speed.title = "Speed of the service's clock relative to real time";
}

/** What each place of a page was last drawn from: what has not changed is left alone, with its scroll and selection. */
const drawn = new Map();

/** Fills a place of the page, by id, unless it shows the same already. */
export function fill(id, from, make) {
  const key = JSON.stringify(from);
  const place = byId(id);
  if (drawn.get(id) === key && place?.hasChildNodes()) return;
  drawn.set(id, key);
  const made = make();
  place.replaceChildren(...(Array.isArray(made) ? made : [made]).filter((part) => part !== null && part !== undefined));
}

/** Lays a page out, once: `parts` are elements that are filled later. */
export function layOut(...parts) {
  const main = byId("main");
  if (main.dataset.laidOut) return;
  main.dataset.laidOut = "true";
  main.replaceChildren(...parts);
}

/** A place that is filled later. */
export function place(id, className = "") {
  return el("div", { id, class: className });
}

/** Parts of a page one under the other; on a wide screen `left` and `right` side by side. */
export function columns(left, right) {
  return el("div", { class: "columns" }, el("div", {}, ...left), el("div", {}, ...right));
}

/** A part of a page with a heading. */
export function section(id, heading, note = null, className = "") {
  return el("section", { id: `${id}-section`, "aria-labelledby": `${id}-title`, class: className },
    el("h2", { id: `${id}-title` }, heading, note ? el("small", {}, ` ${note}`) : null), place(id));
}

/** A place for a table, which may be wider than the page. */
export function scrolling(id, heading, note = null) {
  return el("section", { id: `${id}-section` },
    el("h2", { id: `${id}-title` }, heading, note ? el("small", {}, ` ${note}`) : null),
    el("div", { id, class: "panel scroll", tabindex: "0", role: "region", "aria-labelledby": `${id}-title` }));
}
