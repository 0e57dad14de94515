// A queue, or one share of it, now and over time: what its jobs wait for, where its GPUs were, what it lent and borrowed, what went wrong.

import { alertPart } from "./alertlist.js";
import { ask, askMaybe, here, withParameters } from "./api.js";
import { alertPath, amount, count, duration, el, empty, link, queuePath, sharePath, table, accountAndRegionText, withParametersLink } from "./format.js";
import { columns, fill, layOut, live, nameAs, place as spot, reload, scrolling, section, serviceNow } from "./live.js";
import { waterfall } from "./gpus.js";
import { jobRows } from "./jobtable.js";
import { METRICS, overTime } from "./overtime.js";
import { asParameters, picker, wanted } from "./range.js";
import { loans, shareRows } from "./sharetable.js";
import { failures, setup } from "./tables.js";
import { reasonWords, worstFirst } from "./labels.js";

const [, QUEUE, , SHARE = null] = here();
/** The account and region of the page, where its address says them: queues of several accounts may have one name. */
const parameters = new URLSearchParams(location.search);
const AT = { account: parameters.get("account"), region: parameters.get("region") };
const OF_PAGE = { queue: QUEUE, share: SHARE, ...AT };
const JOBS_SHOWN = 10;
/** Figures over time are asked for anew when so much of their time has gone by. */
const STEPS = 200;

let past = null;

async function load() {
  const paths = ["queues", "waterfall", "shares", "reasons", "loans", "waits", "estimates", "setup", "failures", "alerts"];
  const [jobs, histories, ...answers] = await Promise.all([
    askMaybe(withParameters("api/v1/jobs", { ...OF_PAGE, sort: "waiting", limit: JOBS_SHOWN })), history(), ...paths.map((path) => ask(withParameters(`api/v1/${path}`, AT))),
  ]);
  return { jobs, histories, ...Object.fromEntries(paths.map((path, index) => [path, answers[index]])) };
}

/** What was recorded in the chosen time: it changes no faster than its steps. */
async function history() {
  const chosen = wanted(serviceNow());
  const key = JSON.stringify([chosen.range, chosen.fold, chosen.range ? null : [chosen.from, chosen.to]]);
  const isFresh = past && past.key === key && (chosen.range === null || chosen.to - past.chosen.to < (chosen.to - chosen.from) / STEPS);
  if (isFresh) return past;
  const parameters = { ...asParameters(chosen), ...OF_PAGE };
  const { fold, ...times } = parameters;
  const [views, alerts] = await Promise.all([askMaybe(withParameters("api/v1/histories", { metrics: METRICS.join(","), ...parameters })), askMaybe(withParameters("api/v1/alerts/past", times))]);
  past = { key, chosen, views, alerts: alerts ?? [] };
  return past;
}

function draw(data, tick) {
  const now = Date.parse(tick.now);
  const minute = Math.floor(now / 60000);
  const named = data.queues.filter((row) => row.queue === QUEUE);
  const [queue] = named;
  if (named.length > 1) return choose(named);
  nameAs(SHARE ? `${QUEUE} / ${SHARE}` : QUEUE);
  layOut(spot("head"), spot("gpus"), section("alerts", "Alerts"), section("past", "Over time"),
    columns([scrolling("shares", SHARE ? "Quota" : "Shares", "in instances"), scrolling("waiting", "Why jobs wait now"), scrolling("jobs", "Waiting longest")],
      [scrolling("loans", "Lending", "GPUs of one share's quota that another uses"), scrolling("failures", "Failures", "of the last day"), section("setup", "Set-up")]));
  const own = (rows) => rows.filter((row) => row.queue === QUEUE && (SHARE === null || row.share === SHARE));
  const alerts = worstFirst(data.alerts).filter(({ labels }) => labels.queue === QUEUE && (SHARE === null || labels.share === undefined || labels.share === SHARE));
  fill("head", [queue, own(data.shares), own(data.estimates), own(data.waits)], () => head(queue, own(data.shares)[0], own(data.estimates)[0], own(data.waits)[0]));
  const gpus = data.waterfall.find((row) => row.queue === QUEUE);
  fill("gpus", [gpus], () => (gpus && SHARE === null ? el("div", { class: "panel queue" }, waterfall(gpus)) : null));
  fill("alerts", [alerts, minute], () => alertPart(alerts, now, tick));
  drawPast(data.histories);
  fill("shares", [own(data.shares)], () => shareRows(own(data.shares)));
  fill("waiting", [own(data.reasons)], () => reasons(own(data.reasons)));
  fill("jobs", [data.jobs], () => longest(data.jobs));
  const lent = data.loans.filter((row) => row.queue === QUEUE && (SHARE === null || row.lender === SHARE || row.borrower === SHARE));
  document.getElementById("loans-section").hidden = lent.length === 0;
  fill("loans", [lent], () => loans(lent));
  fill("failures", [own(data.failures)], () => failures(own(data.failures)));
  const found = data.setup.filter((row) => row.queue === QUEUE && (SHARE === null || row.share === SHARE || row.share === null));
  fill("setup", [found], () => setup(found));
}

/** Queues of several accounts and regions have this name: which one is meant? */
function choose(rows) {
  nameAs(QUEUE);
  layOut(spot("head"));
  const columns = [
    { title: "Account and region", cell: (one) => link(SHARE === null ? queuePath(QUEUE, one) : sharePath(QUEUE, SHARE, one), accountAndRegionText(one) ?? QUEUE) },
    { title: "Runnable", number: true, cell: ({ jobs }) => amount(jobs.runnable) }, { title: "Running", number: true, cell: ({ jobs }) => amount(jobs.running) },
    { title: "Oldest wait", number: true, cell: ({ oldest_wait_seconds: age }) => (age === null ? "none" : duration(age)) },
  ];
  fill("head", [rows], () => [el("h1", {}, QUEUE), el("p", { class: "lead" }, "Queues of several accounts and regions have this name."), el("div", { class: "panel" }, table("Queues of this name", columns, rows))]);
}

function head(queue, share, estimate, waits) {
  const where = accountAndRegionText(queue);
  const title = el("div", { class: "headline" }, el("h1", {}, SHARE === null ? QUEUE : el("span", {}, link(queuePath(QUEUE, queue), QUEUE), ` / ${SHARE}`)), where ? el("span", { class: "faint" }, where) : null, queue ? el("span", { class: "tag" }, queue.policy.toLowerCase().replaceAll("_", " ")) : null);
  if (!queue) return [title, el("p", { class: "lead" }, "No queue of this name is watched now. Below is what was recorded of it.")];
  // Of a share without a quota no row may be there.
  const jobs = SHARE === null ? queue.jobs : share?.jobs ?? {};
  const oldest = SHARE === null ? queue.oldest_wait_seconds : share?.oldest_wait_seconds ?? null;
  const state = (name) => withParametersLink("jobs", { ...OF_PAGE, state: name.toUpperCase() }, SHARE !== null && jobs[name] === undefined ? "list" : amount(jobs[name] ?? 0));
  const tiles = [
    ["Runnable", state("runnable")], ["Running", state("running")], ["Failed", state("failed")],
    ["Oldest wait", oldest !== null ? duration(oldest) : Object.keys(jobs).length ? "none" : null],
    ["Half of jobs start within", SHARE && estimate ? duration(estimate.p50_seconds) : null],
    ["95 % of jobs start within", SHARE && estimate ? duration(estimate.p95_seconds) : null],
    ["Dispatched since counting began", SHARE && waits ? amount(waits.count) : null],
  ].filter(([, value]) => value !== null);
  return [title, el("ul", { class: "totals", "aria-label": "At a glance" }, ...tiles.map(([name, value]) => el("li", { class: "tile" }, el("span", { class: "title" }, name), el("strong", {}, value))))];
}

/** The jobs that wait longest, and where the others are. */
function longest(found) {
  if (!found) return empty("The job list is unavailable.");
  const all = withParametersLink("jobs", { ...OF_PAGE, sort: "waiting" }, "All that wait");
  return [jobRows(found.jobs, "Nothing waits."), found.next ? el("p", { class: "empty" }, all) : null];
}

let drawnPast = null;

/** The charts: left alone while they show the same, with whatever somebody points at. */
function drawPast(histories) {
  const host = document.getElementById("past");
  if (drawnPast === histories && host.hasChildNodes()) return;
  drawnPast = histories;
  const { chosen, views, alerts } = histories;
  const again = () => reload();
  const charts = el("div", { class: "charts" });
  host.replaceChildren(picker(chosen, again), charts, fired(alerts));
  if (views === null) charts.append(empty("History is not available now: the request was too large, or the state file is unreadable. Try a shorter time range."));
  else overTime(charts, { views, chosen, alerts, share: SHARE, onZoom: again });
}

/** What is marked on the charts, for those who do not see them or want to go there. */
function fired(alerts) {
  if (alerts.length === 0) return empty("No alert fired in this period.");
  const item = (alert) => el("li", {}, link(alertPath(alert.id), alert.rule), el("span", { class: "faint" }, ` ${alert.labels.share ?? ""} at ${alert.fired_at?.slice(0, 16).replace("T", " ") ?? ""} UTC`));
  return el("details", { class: "fired" }, el("summary", {}, `${count(alerts.length, "alert")} fired in this time`), el("ul", {}, ...alerts.slice(0, 100).map(item)));
}

function reasons(rows) {
  if (rows.length === 0) return empty("Nothing waits.");
  const of = (row) => withParametersLink("jobs", { queue: row.queue, share: row.share, reason: row.reason }, reasonWords(row.reason));
  return table("Waiting jobs by reason", [
    { title: "Why", cell: of },
    ...(SHARE ? [] : [{ title: "Share", cell: (row) => row.share || "no share" }]),
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "GPUs asked for", number: true, cell: (row) => amount(row.gpus) },
  ], [...rows].sort((a, b) => b.jobs - a.jobs));
}

addEventListener("popstate", () => reload());
live({ load, draw });
