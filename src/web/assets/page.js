// Asks the API every two seconds and shows what it says; says so when it says nothing. Figures change with the engine's ticks, so they
// are asked for when it has ticked. All addresses are relative to the page, which may be behind a path of a proxy.

import { remember } from "./gpus.js";
import { count, duration, empty, utc } from "./format.js";
import * as sections from "./sections.js";
import { authorization, forget } from "./token.js";

const EVERY = 2000;
const PATIENCE = 5000;
const LONGEST_WAITING = 10;
const HOUR = 3600 * 1000;

const PATHS = {
  health: "api/v1/health",
  queues: "api/v1/queues",
  shares: "api/v1/shares",
  waits: "api/v1/waits",
  estimates: "api/v1/estimates",
  reasons: "api/v1/reasons",
  loans: "api/v1/loans",
  reserved: "api/v1/reserved",
  fairShares: "api/v1/fair_shares",
  failures: "api/v1/failures",
  setup: "api/v1/setup",
  waterfall: "api/v1/waterfall",
  alerts: "api/v1/alerts",
  jobs: `api/v1/jobs?sort=waiting&limit=${LONGEST_WAITING}`,
};

const STATUS = {
  ok: ["good", "Data is complete"],
  degraded: ["warn", "Some sources fail"],
  starting: ["warn", "Starting"],
  stale: ["bad", "Stale"],
  unreachable: ["bad", "Unreachable"],
};

/** Answers that are asked for each time: what is firing must not wait for a tick. */
const ALWAYS = ["health", "alerts"];

/** The latest complete answer, and when it came on this machine's steady clock. */
let latest = null;
let receivedAt = 0;
/** What each section was last drawn from: an unchanged section is left alone, with its scroll and selection. */
const drawn = new Map();

const byId = (id) => document.getElementById(id);

async function ask(path) {
  const response = await fetch(path, { headers: authorization(), signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  // The page of this address asks for a token, if one is needed.
  if (response.status === 401 && !leaving) leave();
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

let leaving = false;

function leave() {
  leaving = true;
  forget();
  location.reload();
}

/** Asks for what may have changed. Without health there is nothing to show; jobs may fail alone, since they are asked elsewhere. */
async function poll() {
  try {
    const always = await answers(ALWAYS);
    const isNew = latest?.jobs == null || latest.health.ticked_at !== always.health.ticked_at || latest.health.started_at !== always.health.started_at;
    const rest = isNew ? await answers(Object.keys(PATHS).filter((name) => !ALWAYS.includes(name))) : {};
    latest = { ...latest, ...always, ...rest };
    receivedAt = performance.now();
    show(latest);
    setStatus(latest.health.status, latest);
  } catch (reason) {
    console.error(reason);
    setStatus("unreachable", latest);
  }
  if (!leaving) setTimeout(poll, EVERY);
}

async function answers(names) {
  const settled = await Promise.allSettled(names.map((name) => ask(PATHS[name])));
  const failed = settled.find(({ status }, i) => status === "rejected" && names[i] !== "jobs");
  if (failed) throw failed.reason;
  return Object.fromEntries(names.map((name, i) => [name, settled[i].value ?? null]));
}

function show(data) {
  const { health } = data;
  const now = Date.parse(health.now);
  const span = Math.max(HOUR, 60 * EVERY * health.clock_speed);
  if (health.ticked_at) remember(data.waterfall, Date.parse(health.ticked_at), span);
  const minute = Math.floor(now / 60000);
  draw("totals", [data.queues, data.alerts, data.waterfall], () => sections.totals(data));
  const wanted = location.hash.slice(1);
  const failed = failing(health);
  draw("alerts", [data.alerts, minute, wanted, failed], () => [sections.alerts(data.alerts, now, failed, wanted)]);
  land(wanted);
  draw("queues", [data.queues, data.waterfall, health.ticked_at], () => sections.queues(data.queues, data.waterfall, span));
  draw("shares", [data.shares, data.fairShares], () => [sections.shares(data.shares), ...sections.fairShares(data.fairShares)]);
  draw("waits", [data.waits, data.estimates], () => [sections.waits(data.waits, data.estimates)]);
  draw("reasons", [data.reasons], () => [sections.reasons(data.reasons)]);
  draw("loans", [data.loans], () => [sections.loans(data.loans)]);
  draw("reserved", [data.reserved], () => [sections.reserved(data.reserved)]);
  byId("reserved-section").hidden = data.reserved.length === 0;
  draw("failures", [data.failures], () => [sections.failures(data.failures)]);
  draw("setup", [data.setup], () => [sections.setup(data.setup)]);
  draw("jobs", [data.jobs], () => [data.jobs ? sections.jobs(data.jobs.jobs) : empty("The ledger does not answer now.")]);
  draw("sources", [health.sources], () => sections.sources(health.sources));
  byId("version").textContent = `Trainspotter ${health.version}`;
  const firing = data.alerts.filter(({ state }) => state === "firing").length;
  document.title = firing ? `(${firing}) Trainspotter` : "Trainspotter";
}

let landed = "";

/** Goes to what the address leads to, once it is drawn: the browser has looked for it before. */
function land(id) {
  const target = id && id !== landed ? byId(id) : null;
  if (!target) return;
  landed = id;
  target.scrollIntoView({ block: "center" });
}

function draw(id, from, make) {
  const key = JSON.stringify(from);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  byId(id).replaceChildren(...make());
}

/** Sources whose last poll failed, or that have not answered although the first poll is complete. */
function failing(health) {
  return health.sources.filter(({ error }) => error).map(({ source }) => source.replaceAll("_", " "));
}

/** What the page says of itself, worst first: nothing is well while an alert fires or a source fails. */
function summary(status, data) {
  if (!data || status === "unreachable" || status === "stale") return STATUS[status] ?? ["warn", status];
  const firing = data.alerts.filter(({ state }) => state === "firing").length;
  const failed = failing(data.health);
  const words = [];
  if (firing) words.push(`${count(firing, "alert")} firing`);
  if (failed.length) words.push(`${count(failed.length, "source")} failing`);
  if (data.health.store_error) words.push("state file not written");
  if (status === "starting") words.push("starting");
  if (words.length) return [firing ? "bad" : "warn", words.join(", ").replace(/^./, (first) => first.toUpperCase())];
  return STATUS[status] ?? ["warn", status];
}

function setStatus(status, data) {
  const [mood, words] = summary(status, data);
  const pill = byId("status");
  if (pill.textContent !== words) pill.textContent = words;
  pill.className = `pill ${mood}`;
  document.body.classList.toggle("old", status === "stale" || status === "unreachable");
  const banner = byId("banner");
  const text = explain(status, data?.health ?? null);
  banner.hidden = text === null;
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
}

function explain(status, health) {
  const from = health?.ticked_at ? ` The figures below are from ${utc(Date.parse(health.ticked_at))} UTC.` : "";
  if (status === "unreachable") return `Trainspotter does not answer.${from}`;
  if (status === "stale") return `Trainspotter answers, but its engine has not ticked for long: alerts are not evaluated.${from}`;
  const errors = (health?.sources ?? []).filter(({ error }) => error).map(({ source, error }) => `${source.replaceAll("_", " ")}: ${error}`);
  if (status === "starting") {
    const why = errors.length ? ` ${errors.join("; ")}.` : "";
    return `The first poll is not complete yet: the figures below are incomplete.${why}`;
  }
  if (health?.store_error) return `The state is kept in memory only, and a restart would lose it: ${health.store_error}`;
  return null;
}

/** The service's clock between two answers, so that ages grow even when nothing comes. */
function tick() {
  if (!latest) return;
  const { health } = latest;
  const now = Date.parse(health.now) + (performance.now() - receivedAt) * health.clock_speed;
  byId("now").textContent = `${utc(now)} UTC`;
  byId("now").setAttribute("datetime", new Date(now).toISOString());
  byId("age").textContent = health.ticked_at ? `${duration((now - Date.parse(health.ticked_at)) / 1000)} old` : "none yet";
  const speed = byId("speed");
  speed.hidden = health.clock_speed === 1;
  speed.textContent = `×${health.clock_speed}`;
  speed.title = "The service's clock runs this much faster than the wall's";
}

poll();
setInterval(tick, 500);
