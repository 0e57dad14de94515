// The service itself: what it watches and how fresh that is, whom it notifies and what is stuck, where figures go, which limits bite.

import { ask } from "./api.js";
import { amount, count, duration, el, empty, facts, link, moment, queuePath, table } from "./format.js";
import { columns, fill, layOut, live, place as spot, scrolling } from "./live.js";

const STATUS = {
  ok: ["ok", "Every source responds, and the state is saved."],
  degraded: ["not-ok", "Degraded: some data is old, or the state is not kept where it should be."],
  starting: ["not-ok", "Starting: the first poll is not complete."],
  stale: ["not-ok", "Stale: the engine has not ticked recently, so alerts are not evaluated."],
};

/** What is paid for, in words. */
const DESTINATIONS = {
  classic: "CloudWatch metrics (PutMetricData)", otlp: "Metrics by OTLP", gpu_metrics: "Reading GPU metrics from CloudWatch", alarms: "CloudWatch alarms",
  dashboards: "CloudWatch dashboards", log: "The log of replicas", archive: "Archive", compute: "Running the service", total: "Total",
};

async function load() {
  const [health, service] = await Promise.all([ask("api/v1/health"), ask("api/v1/service")]);
  return { health, service };
}

function draw({ health, service }, tick) {
  const now = Date.parse(tick.now);
  const minute = Math.floor(now / 60000);
  layOut(el("h1", {}, "Health"), spot("state"),
    columns([scrolling("sources", "Sources", ageNote(health.clock_speed)), scrolling("targets", "Targets"), scrolling("receivers", "Receivers"), scrolling("sinks", "Sinks"),
      scrolling("costs", "Cost of the service", "per month at current usage, excluding its tasks"), scrolling("replicas", "Replicas"), scrolling("limits", "Limits reached")],
    [scrolling("calls", "AWS API calls", "since counting began"), scrolling("unknown", "Unknown values from AWS"), scrolling("rules", "Rules")]));
  const show = (id, rows, make) => {
    document.getElementById(`${id}-section`).hidden = rows === null;
    if (rows !== null) fill(id, [rows, minute], make);
  };
  fill("state", [health.status, service, tick.problems, minute], () => state(health, service, tick.problems, now));
  show("sources", health.sources, () => sources(health.sources));
  show("targets", service.targets, () => targets(service.targets, health.targets));
  show("receivers", service.receivers, () => receivers(service.receivers));
  show("sinks", service.sinks, () => sinks(service.sinks));
  show("costs", service.costs, () => costs(service.costs));
  show("replicas", health.replica ?? null, () => replicaFacts(health.replica, now));
  show("limits", service.limits, () => (service.limits.length ? limits(service.limits) : empty("No limit has left anything out.")));
  show("calls", service.calls.length ? service.calls : null, () => calls(service.calls));
  show("unknown", service.unknown_values.length ? service.unknown_values : null, () => unknown(service.unknown_values));
  show("rules", service.rules, () => rules(service));
}

/** On a fast clock a stall of a second makes the data old by minutes or hours. */
const ageNote = (speed) => `age of the data in use${speed === 1 ? "" : `, in simulated time: a real second is ${duration(speed)}`}`;

function state(health, service, problems, now) {
  const [mood, words] = STATUS[health.status] ?? ["not-ok", health.status];
  const skew = health.clock_skew_seconds;
  return el("div", { class: "panel inset" }, el("p", { class: mood }, words), problems.length ? el("p", {}, problems.join(" · ")) : null, health.store_error ? el("p", { class: "not-ok" }, `State file: ${health.store_error}`) : null,
    health.not_ready ? el("p", {}, health.not_ready) : null,
    facts([
      ["Version", health.version], ["Started", moment(health.started_at, now)],
      ["Figures", health.ticked_at ? moment(health.ticked_at, now) : "none yet"],
      ["Time between polls", service.poll_interval_seconds === null ? null : duration(service.poll_interval_seconds)],
      ["Clock", skew === null ? "not compared with AWS's yet" : Math.abs(skew) < 1 ? "as AWS's" : `${duration(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"} AWS's`],
      ["State file", service.store_bytes === null ? null : `${amount(Math.round(service.store_bytes / 1e5) / 10)} MB`],
      ["Jobs in memory", service.jobs_kept === null ? null : amount(service.jobs_kept)],
    ]));
}

function sources(rows) {
  return table("Sources", [
    { title: "Source", cell: ({ source, target }) => (new Set(rows.map((row) => row.target)).size > 1 ? `${target}: ` : "") + source.replaceAll("_", " ") },
    { title: "State", cell: ({ error, age_seconds: age }) => el("span", { class: error ? "not-ok" : age === null ? "" : "ok" }, error ? "fails" : age === null ? "no answer yet" : "answers") },
    { title: "Age", number: true, cell: ({ age_seconds: age }) => (age === null ? "–" : duration(age)) },
    { title: "Error of the last poll", cell: ({ error, note }) => (error || note ? el("span", { class: "wraps" }, error ?? note) : ""), wide: true },
  ], rows);
}

function targets(rows, healths) {
  if (rows.length === 0) return empty("No queue is monitored, or none is known yet.");
  const health = ({ target }) => healths.find((one) => one.target === target) ?? { status: "starting", problems: [] };
  return table("Targets", [
    { title: "Target", cell: ({ target }) => target },
    { title: "State", cell: (row) => el("span", { class: health(row).status === "ok" ? "ok" : "not-ok" }, health(row).status) },
    { title: "Account", cell: ({ account }) => account ?? "not known" }, { title: "Region", cell: ({ region }) => region ?? "not known" },
    { title: "Queues", cell: (row) => el("span", { class: "wraps" }, ...row.queues.flatMap((queue, index) => [index ? ", " : "", link(queuePath(queue, row), queue)])) },
    { title: "What is wrong", cell: (row) => health(row).problems.length ? el("span", { class: "wraps" }, health(row).problems.join(" · ")) : "", wide: true },
  ], rows);
}

function receivers(rows) {
  if (rows.length === 0) return empty("No receiver is configured: alerts are only shown here.");
  const outcomes = [...new Set(rows.flatMap(({ deliveries }) => Object.keys(deliveries)))].sort();
  return table("Receivers", [
    { title: "Receiver", cell: ({ receiver }) => receiver },
    { title: "State", cell: ({ pending, oldest_seconds: age }) => el("span", { class: pending > 0 && age > 300 ? "not-ok" : "ok" }, pending === 0 ? "nothing waits" : `${count(pending, "notification")} waits`.replace(/s waits$/, "s wait")) },
    { title: "Oldest", number: true, cell: ({ pending, oldest_seconds: age }) => (pending ? duration(age) : "–") },
    ...outcomes.map((outcome) => ({ title: outcome.charAt(0).toUpperCase() + outcome.slice(1).replaceAll("_", " "), number: true, cell: ({ deliveries }) => amount(deliveries[outcome] ?? 0) })),
  ], rows);
}

function sinks(rows) {
  if (rows.length === 0) return empty("Metrics are only available at /metrics.");
  return table("Sinks", [
    { title: "Sink", cell: ({ sink }) => sink },
    { title: "Series in the last batch", number: true, cell: ({ series }) => amount(series) },
    { title: "Batches that failed", number: true, cell: ({ failures }) => el("span", { class: failures ? "not-ok" : "" }, amount(failures)) },
    ...(rows.some(({ left_out: out }) => Object.keys(out).length) ? [{ title: "Left out by the budget", cell: ({ left_out: out }) =>
      el("span", { class: "wraps" }, Object.entries(out).map(([metric, series]) => `${metric} (${amount(series)})`).join(", ")) }] : []),
  ], rows);
}

function costs(rows) {
  if (rows.length === 0) return empty("No costs are known yet.");
  const total = { destination: "total", dollars: rows.reduce((sum, { dollars }) => sum + dollars, 0) };
  return table("Costs", [
    { title: "Destination", cell: ({ destination }) => DESTINATIONS[destination] ?? destination.replaceAll("_", " ") },
    { title: "US dollars a month", number: true, cell: ({ dollars }) => dollars.toFixed(2) },
  ], [...rows, total]);
}

/** Which of several replicas answers, who leads, and as of when. */
function replicaFacts({ leads, replica, leader, record, written_at: at, same_config: same, trouble, is_ahead: ahead, damaged_copy: damaged }, now) {
  return el("div", { class: "inset" }, trouble ? el("p", { class: "not-ok" }, `Its log: ${trouble}`) : null,
    ahead ? el("p", { class: "not-ok" }, "Changes are kept by this replica only, until the log takes them.") : null,
    damaged ? el("p", { class: "not-ok" }, `A copy of the state in its log is damaged: ${damaged}`) : null,
    facts([
      ["This replica", `${replica}, ${leads ? "which leads" : "which follows"}`], ["Leads", leader ?? "nobody"], ["Last record of its log", amount(record)],
      ["Written", at ? moment(at, now) : "not yet"], ["Configuration", same ? "the same as the leader's" : el("span", { class: "not-ok" }, "another than the leader's")],
    ]));
}

function limits(rows) {
  return table("Limits", [
    { title: "Limit", cell: ({ limit }) => limit.replaceAll("_", " ") }, { title: "Times it left something out", number: true, cell: ({ hits }) => amount(hits) },
  ], rows);
}

function calls(rows) {
  return table("Calls by operation and outcome", [
    { title: "Operation", cell: ({ service, operation }) => `${service} ${operation}` }, { title: "Outcome", cell: ({ outcome }) => el("span", { class: outcome === "ok" ? "" : "not-ok" }, outcome) },
    { title: "Calls", number: true, cell: ({ calls: made }) => amount(made) },
  ], [...rows].sort((a, b) => (a.outcome === "ok") - (b.outcome === "ok") || b.calls - a.calls));
}

function unknown(rows) {
  return table("Unknown values", [
    { title: "Kind", cell: ({ kind }) => kind }, { title: "Value", cell: ({ value }) => value }, { title: "Seen", number: true, cell: ({ seen }) => amount(seen) },
  ], rows);
}

function rules({ rules: rows, rules_broken: broken }) {
  return [
    broken ? el("p", { class: "empty not-ok" }, "The rule files have errors: the previous rules stay in effect. The service's log lists the errors.") : null,
    rows.length === 0 ? empty("No rule is configured.") : table("Rules", [
      { title: "Rule", cell: ({ rule }) => rule }, { title: "Severity", cell: ({ severity }) => severity ?? "–" }, { title: "Over", cell: ({ metrics }) => [...new Set(metrics)].join(", ") },
      { title: "By", cell: ({ by }) => by.join(", ") || "all" },
      { title: "Evaluations that failed", number: true, cell: ({ failures }) => el("span", { class: failures ? "not-ok" : "" }, amount(failures)) },
    ], rows),
  ];
}

live({ load, draw });
