// Asks the API every two seconds and shows what it says; says so when it says nothing.

import { remember } from "./gpus.js";
import { duration, empty, utc } from "./format.js";
import * as sections from "./sections.js";

const EVERY = 2000;
const PATIENCE = 5000;
const LONGEST_WAITING = 10;
const HOUR = 3600 * 1000;

const PATHS = {
  health: "/api/v1/health",
  queues: "/api/v1/queues",
  shares: "/api/v1/shares",
  waits: "/api/v1/waits",
  estimates: "/api/v1/estimates",
  reasons: "/api/v1/reasons",
  loans: "/api/v1/loans",
  reserved: "/api/v1/reserved",
  fairShares: "/api/v1/fair_shares",
  failures: "/api/v1/failures",
  setup: "/api/v1/setup",
  waterfall: "/api/v1/waterfall",
  alerts: "/api/v1/alerts",
  jobs: `/api/v1/jobs?state=runnable&limit=${LONGEST_WAITING}`,
};

const STATUS = {
  ok: ["good", "Data is complete"],
  degraded: ["warn", "Some sources fail"],
  starting: ["warn", "Starting"],
  stale: ["bad", "Stale"],
  unreachable: ["bad", "Unreachable"],
};

/** The latest complete answer, and when it came on this machine's steady clock. */
let latest = null;
let receivedAt = 0;
/** What each section was last drawn from: an unchanged section is left alone, with its scroll and selection. */
const drawn = new Map();

const byId = (id) => document.getElementById(id);

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

/** Everything at once. Without health there is nothing to show; jobs may fail alone, since they are asked elsewhere. */
async function poll() {
  try {
    const names = Object.keys(PATHS);
    const answers = await Promise.allSettled(names.map((name) => ask(PATHS[name])));
    const failed = answers.find(({ status }, i) => status === "rejected" && names[i] !== "jobs");
    if (failed) throw failed.reason;
    latest = Object.fromEntries(names.map((name, i) => [name, answers[i].value ?? null]));
    receivedAt = performance.now();
    show(latest);
    setStatus(latest.health.status, latest.health);
  } catch (reason) {
    console.error(reason);
    setStatus("unreachable", latest?.health ?? null);
  }
  setTimeout(poll, EVERY);
}

function show(data) {
  const { health } = data;
  const now = Date.parse(health.now);
  const span = Math.max(HOUR, 60 * EVERY * health.clock_speed);
  if (health.ticked_at) remember(data.waterfall, Date.parse(health.ticked_at), span);
  const minute = Math.floor(now / 60000);
  draw("totals", [data.queues, data.alerts, data.waterfall], () => sections.totals(data));
  const wanted = location.hash.slice(1);
  draw("alerts", [data.alerts, minute, wanted], () => [sections.alerts(data.alerts, now, wanted)]);
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

function setStatus(status, health) {
  const [mood, words] = STATUS[status] ?? ["warn", status];
  const pill = byId("status");
  if (pill.textContent !== words) pill.textContent = words;
  pill.className = `pill ${mood}`;
  document.body.classList.toggle("old", status === "stale" || status === "unreachable");
  const banner = byId("banner");
  const text = explain(status, health);
  banner.hidden = text === null;
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
}

function explain(status, health) {
  const from = health?.ticked_at ? ` The figures below are from ${utc(Date.parse(health.ticked_at))} UTC.` : "";
  if (status === "unreachable") return `Trainspotter does not answer.${from}`;
  if (status === "stale") return `Trainspotter answers, but its engine has not ticked for long: alerts are not being judged.${from}`;
  if (status === "starting") return "The first poll is not complete yet: what is below is not the whole truth.";
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
