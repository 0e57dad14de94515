// The overview: is it bad, and where; where the GPUs are; who waits, and why.

import { alertPart } from "./alertlist.js";
import { address, ask, askMaybe } from "./api.js";
import { alertPath, amount, count, duration, el, empty, link, percent, place, queuePath, sameQueue, table, accountAndRegion, accountAndRegionText, withParametersLink } from "./format.js";
import { columns, fill, layOut, live, place as spot, scrolling, section } from "./live.js";
import { waterfall } from "./gpus.js";
import { jobRows } from "./jobtable.js";
import { failures, setup } from "./tables.js";
import { reasonWords, severityRank, STATES, WAITING, worstFirst } from "./labels.js";

const LONGEST_WAITING = 10;

const PATHS = {
  queues: "api/v1/queues",
  waterfall: "api/v1/waterfall",
  alerts: "api/v1/alerts",
  reasons: "api/v1/reasons",
  estimates: "api/v1/estimates",
  failures: "api/v1/failures",
  reserved: "api/v1/reserved",
  setup: "api/v1/setup",
};

async function load() {
  const names = Object.keys(PATHS);
  const [jobs, ...answers] = await Promise.all([
    askMaybe(`api/v1/jobs?sort=waiting&limit=${LONGEST_WAITING}`), ...names.map((name) => ask(PATHS[name])),
  ]);
  return { jobs, ...Object.fromEntries(names.map((name, index) => [name, answers[index]])) };
}

function draw(data, tick) {
  const { queues, alerts, reasons } = data;
  const now = Date.parse(tick.now);
  const minute = Math.floor(now / 60000);
  layOut(spot("verdict"), columns([section("alerts", "Alerts"), section("queues", "Where the GPUs are")],
    [scrolling("waiting", "Who waits, and why"), scrolling("jobs", "Waiting longest"), scrolling("reserved", "Reserved", "instances that are paid for, used or not"), scrolling("failures", "Failures", "of the last day"), section("setup", "Set-up")]));
  const sorted = worstFirst(alerts);
  fill("verdict", [alerts, queues, data.waterfall, tick.problems, tick.status, minute], () => verdict(data, sorted, tick));
  fill("alerts", [alerts, minute, tick.problems], () => alertPart(sorted, now, tick, true));
  const troubled = sorted.filter(({ state }) => state === "firing").map(({ labels }) => labels.queue);
  fill("queues", [queues, data.waterfall, troubled], () => queueCards(queues, data.waterfall, troubled));
  // As long as no queue is known, nobody knows what waits or failed either.
  const isKnown = queues.length > 0;
  const none = isKnown ? "Nothing waits." : "Not known: no queue is known yet.";
  fill("waiting", [reasons, queues, data.estimates], () => waiting(reasons, data.estimates, none));
  fill("jobs", [data.jobs, none], () => (data.jobs ? jobRows(data.jobs.jobs, none) : empty("The job list is unavailable.")));
  document.getElementById("reserved-section").hidden = data.reserved.length === 0;
  fill("reserved", [data.reserved], () => reserved(data.reserved));
  fill("failures", [data.failures, isKnown], () => (isKnown ? failures(data.failures) : empty(none)));
  fill("setup", [data.setup, isKnown], () => (isKnown ? setup(data.setup) : empty(none)));
}

/** The answer to "is it bad, and where" in a line, and the numbers one looks at first in another. */
function verdict({ queues, waterfall: rows }, sorted, { problems, status }) {
  const firing = sorted.filter(({ state }) => state === "firing");
  const where = [...new Set(firing.map(({ labels }) => labels.queue).filter(Boolean))];
  const on = where.length ? ` on ${where.slice(0, 2).join(" and ")}${where.length > 2 ? ` and ${where.length - 2} more` : ""}` : "";
  const bad = firing.some(({ labels }) => severityRank(labels.severity ?? "") >= 2);
  const mood = bad ? "bad" : firing.length || problems.length || status !== "ok" ? "warn" : "good";
  const words = firing.length ? `${count(firing.length, "alert")} firing${on}` : problems.length ? "No alert fires, but data is missing" : "No alert fires";
  // While the service starts, the line at the top says what is missing.
  return [el("div", { class: `verdict ${mood}` }, el("h1", {}, words), problems.length && status !== "starting" ? el("p", { class: "warn" }, problems.join(" · ")) : null), totals(queues, rows)];
}

function totals(queues, rows) {
  const waits = queues.reduce((sum, { jobs }) => sum + WAITING.reduce((n, state) => n + (jobs[state] ?? 0), 0), 0);
  const oldest = queues.filter(({ oldest_wait_seconds: age }) => age !== null).sort((a, b) => b.oldest_wait_seconds - a.oldest_wait_seconds)[0];
  const known = rows.filter((row) => row.capacity_gpus !== null);
  const sum = (part) => known.reduce((total, { parts }) => total + (parts[part] ?? 0), 0);
  const capacity = known.reduce((total, row) => total + row.capacity_gpus, 0);
  const tile = (title, value, note) => el("li", { class: "tile" }, el("span", { class: "title" }, title), el("strong", {}, value), el("span", { class: "note" }, note));
  return el("ul", { class: "totals", "aria-label": "At a glance" },
    tile("Jobs waiting", queues.length ? amount(waits) : "–", queues.length ? `in ${count(queues.length, "queue")}` : "no queue is known"),
    tile("Oldest wait", oldest ? duration(oldest.oldest_wait_seconds) : queues.length ? "none" : "–", oldest ? `on ${oldest.queue}` : queues.length ? "nothing waits" : "no queue is known"),
    tile("GPUs busy", percent(sum("running_busy"), capacity), capacity ? `${amount(sum("running_busy"))} of ${amount(capacity)}` : "capacity not known"),
    tile("GPUs unallocated", capacity ? amount(sum("unallocated")) : "–", capacity ? `${amount(sum("running_idle"))} more run idle` : "capacity not known"));
}

/** One card per queue, those about which something fires first. */
function queueCards(all, waterfalls, troubled) {
  const place = ({ queue }) => (troubled.includes(queue) ? troubled.indexOf(queue) : troubled.length);
  const rows = [...all].sort((a, b) => place(a) - place(b));
  if (rows.length === 0) return [empty("No queues are monitored, or none is known yet.")];
  return [el("div", { class: "queues" }, ...rows.map((row) => {
    const { queue, policy, jobs, oldest_wait_seconds: oldest } = row;
    const where = accountAndRegionText(row);
    const states = [...STATES.filter((state) => state in jobs), ...Object.keys(jobs).filter((state) => !STATES.includes(state))];
    const gpus = waterfalls.find((other) => sameQueue(other, row));
    return el("article", { class: "panel queue", "aria-label": where ? `Queue ${queue} in ${where}` : `Queue ${queue}` },
      el("header", {},
        el("h3", {}, link(queuePath(queue, row), queue)), where ? el("span", { class: "faint" }, where) : null, el("span", { class: "tag" }, policy.toLowerCase().replaceAll("_", " ")),
        el("p", { class: "oldest" }, el("span", { class: "faint" }, "oldest wait "), el("strong", {}, oldest === null ? "none" : duration(oldest)))),
      gpus ? waterfall(gpus) : null,
      el("ul", { class: "states", "aria-label": "Jobs by state" }, ...states.filter((state) => jobs[state] > 0 || state === "runnable" || state === "running").map((state) =>
        el("li", { class: `${jobs[state] === 0 ? "zero" : ""} state-${state}` }, el("strong", {}, amount(jobs[state])), withParametersLink("jobs", { queue, ...accountAndRegion(row), state: state.toUpperCase() }, state)))));
  }))];
}

/** Shares with waiting jobs, the reason of most of them first. */
function waiting(reasons, estimates, none) {
  if (reasons.length === 0) return empty(none);
  const shares = new Map();
  for (const row of reasons) {
    const key = JSON.stringify([row.queue, row.share, row.account, row.region]);
    const share = shares.get(key) ?? { queue: row.queue, share: row.share, account: row.account, region: row.region, jobs: 0, gpus: 0, reasons: [] };
    share.jobs += row.jobs;
    share.gpus += row.gpus;
    share.reasons.push(row);
    shares.set(key, share);
  }
  const rows = [...shares.values()].sort((a, b) => b.gpus - a.gpus || b.jobs - a.jobs);
  const estimate = (row) => estimates.find((one) => sameQueue(one, row) && one.share === row.share);
  const reason = ({ queue, share, reason: code, jobs, ...row }) => el("li", {}, withParametersLink("jobs", { queue, share, ...accountAndRegion(row), reason: code }, reasonWords(code)), el("span", { class: "faint" }, ` ${amount(jobs)}`));
  return table("Shares with waiting jobs", [
    { title: "Share", cell: (row) => place(row.queue, row.share, row) },
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "GPUs asked for", number: true, cell: (row) => amount(row.gpus) },
    { title: "Why", cell: (row) => el("ul", { class: "plain" }, ...row.reasons.sort((a, b) => b.jobs - a.jobs).map(reason)) },
    { title: "Wait p50", number: true, cell: (row) => duration(estimate(row)?.p50_seconds) },
    { title: "Wait p95", number: true, cell: (row) => duration(estimate(row)?.p95_seconds) },
  ], rows);
}

/** Training plans and warm pools. */
function reserved(rows) {
  return table("Reserved instances by plan and pool", [
    { title: "Plan or pool", cell: (row) => row.name },
    { title: "Kind", cell: (row) => row.kind.replaceAll("_", " ") },
    { title: "Type", cell: (row) => row.instance_type },
    { title: "Instances", number: true, cell: (row) => amount(row.total) },
    { title: "In use", number: true, cell: (row) => amount(row.in_use) },
    { title: "Idle", number: true, cell: (row) => amount(row.idle) },
  ], rows);
}

// Messages of earlier versions led to a mark on this page.
const [, id] = location.hash.match(/^#alert-([0-9a-f]+)$/) ?? [];
if (id) location.replace(address(alertPath(id)));
else live({ load, draw });
