// The charts of a queue or share: what was recorded of it, one chart a question.

import { chart } from "./chart.js";
import { el } from "./format.js";
import { PARTS } from "./gpus.js";
import { zoom } from "./range.js";
import { categoryWords, causeWords, reasonColour, reasonWords, severityRank } from "./labels.js";

/** What is asked for, in one pass over what was recorded. */
export const METRICS = ["queue.wait.oldest", "queue.wait:p50", "queue.wait:p95", "queue.wait.estimate", "queue.waiting", "gpu.part", "gpu.unallocated", "share.quota",
  "share.used", "share.borrowed", "share.lent", "job.preemptions", "job.failures", "gpu.utilisation", "queue.demand"];

/** Lines of one chart, at most: those with the highest values. */
const MAX_LINES = 8;

/** Draws the charts of `views`, as `/api/v1/histories` gives them, into `host`. */
export function overTime(host, { share, ...past }) {
  if (isEmpty(past.views)) return host.append(el("p", { class: "empty boxed" }, "Nothing was recorded in this time. History begins when the service first ran; the setting history.keep limits how long it is kept."));
  const { of, put } = drawer(host, past);
  if (share === null) {
    put("Oldest wait by share", "seconds", lines(of("queue.wait.oldest"), by("share", "no share"), Math.max));
    put("Wait of dispatched jobs, p95 of the last hour, by share", "seconds", lines(of("queue.wait", "p95"), by("share", "no share"), Math.max));
    put("GPUs by part, mean of a step", "gpus", parts(of("gpu.part")), { stacked: true });
    put(...unallocated(of));
  } else {
    put("Waits", "seconds", waits(of));
  }
  put(...byReason(of));
  put("GPUs requested by waiting jobs, mean of a step", "gpus", lines(of("queue.demand"), by("instance_type")), { stacked: true });
  putQuotas(of, put, share);
  put("GPU utilisation of running jobs", "ratio", lines(of("gpu.utilisation"), by("share", "no share"), Math.max));
  put("Preemptions per step", "count", grown(lines(of("job.preemptions"), share === null ? by("share", "no share") : () => "preemptions")));
  put("Failures per step by category", "count", grown(lines(of("job.failures"), ({ category }) => categoryWords(category))));
}

/** Whether nothing at all was recorded. */
export function isEmpty(views) {
  return views.every(({ series }) => series.every(({ values }) => values.every((value) => value === null)));
}

/** What says why a job of a share waited: the reasons of its share, its quota, and what was free in the queue. */
export function duringAWait(host, { share, ...past }) {
  const { of, put } = drawer(host, past);
  put(...byReason(of));
  putQuotas(of, put, share);
  put(...unallocated(of));
}

/** How to get a metric from `views`, and how to put a chart into `host`. */
function drawer(host, { views, chosen, alerts, onZoom }) {
  const of = (metric, stat) => views.find((view) => view.metric === metric && (stat === undefined || view.stat === stat));
  const seconds = (at) => Date.parse(at) / 1000;
  const marks = alerts.filter(({ fired_at: at }) => at).map((alert) => ({ from: seconds(alert.fired_at), to: alert.resolved_at ? seconds(alert.resolved_at) : chosen.to, label: alert.rule,
    colour: alert.colour ?? (severityRank(alert.labels.severity ?? "") >= 3 ? "--bad" : "--idle") }));
  const at = views[0].at.map(seconds);
  const step = views[0].step_seconds;
  const put = (title, unit, all, more = {}) => {
    // A layer that is always empty shows nothing; if all are, the first says so.
    const layers = all.filter(({ values }) => values.some(Boolean));
    const series = more.stacked ? (layers.length ? layers : all.slice(0, 1)) : all;
    const place = el("div", {});
    host.append(place);
    chart(place, { title, at, series, unit, range: [chosen.from, chosen.to], step, marks, onZoom: onZoom ? (from, to) => zoom(from, to, onZoom) : undefined, ...more });
  };
  return { of, put };
}

const byReason = (of) => ["Waiting jobs by reason, mean of a step", "count", lines(of("queue.waiting"), by("reason")).map(ofReason), { stacked: true }];
const ofReason = ({ label: code, values }) => ({ label: reasonWords(code), colour: reasonColour(code), values });
const unallocated = (of) => ["Unallocated GPUs by cause, mean of a step", "gpus", lines(of("gpu.unallocated"), ({ cause }) => causeWords(cause)), { stacked: true }];

function putQuotas(of, put, share) {
  for (const [unit, series] of quotas(of, share)) put(`Quota and use${unit ? `, ${unit}` : " by share"}`, "instances", series);
}

const sum = (a, b) => a + b;

function by(label, none = "none") {
  return (labels) => labels[label] || none;
}

/** Series with the same name become one; those with the lowest values become "others". */
function lines(view, name, combine = sum) {
  if (!view) return [];
  const named = new Map();
  for (const { labels, values } of view.series) merge(named, name(labels), values, combine);
  const all = [...named].map(([label, values]) => ({ label, values }));
  if (all.length <= MAX_LINES) return all;
  const highest = ({ values }) => Math.max(...values.filter((value) => value !== null), 0);
  const sorted = all.sort((a, b) => highest(b) - highest(a));
  const others = new Map();
  for (const { values } of sorted.slice(MAX_LINES - 1)) merge(others, "others", values, combine);
  return [...sorted.slice(0, MAX_LINES - 1), ...[...others].map(([label, values]) => ({ label, values }))];
}

function merge(named, label, values, combine) {
  const before = named.get(label);
  named.set(label, before ? before.map((value, index) => (value === null ? values[index] : values[index] === null ? value : combine(value, values[index]))) : values);
}

/** The parts of the capacity in their order and colours. */
function parts(view) {
  const known = lines(view, ({ part }) => part);
  return PARTS.map(([part, label, colour]) => ({ label, colour, values: known.find((one) => one.label === part)?.values })).filter(({ values }) => values);
}

/** What waits of a share were: of jobs that were dispatched, and by Kaplan and Meier with those that still wait. */
function waits(of) {
  const one = (view, label, more = {}) => lines(view, () => label, Math.max).map((line) => ({ ...line, ...more }));
  const estimate = (percentile) => {
    const view = of("queue.wait.estimate");
    return view ? { ...view, series: view.series.filter(({ labels }) => labels.percentile === percentile) } : null;
  };
  return [
    ...one(of("queue.wait.oldest"), "oldest that waits"),
    ...one(of("queue.wait", "p50"), "dispatched, p50"), ...one(of("queue.wait", "p95"), "dispatched, p95"),
    ...one(estimate("p50"), "all, p50 (Kaplan–Meier)", { dash: [5, 4] }), ...one(estimate("p95"), "all, p95 (Kaplan–Meier)", { dash: [5, 4] }),
  ];
}

/** Of a queue the use of each share; of a share quota, used, borrowed and lent by instance type. */
function quotas(of, share) {
  const kinds = [["share.quota", "quota", "--faint"], ["share.used", "used", "--busy"], ["share.borrowed", "borrowed", "--idle"], ["share.lent", "lent", "--unknown"]];
  if (share === null) return [[null, lines(of("share.used"), ({ share: name, instance_type: unit }) => `${name || "no share"}, ${unit === "NUM_INSTANCES" ? "any" : unit}`)]];
  const units = new Set(kinds.flatMap(([metric]) => of(metric)?.series.map(({ labels }) => labels.instance_type) ?? []));
  return [...units].map((unit) => [unit === "NUM_INSTANCES" ? "any instance" : unit, kinds.flatMap(([metric, label, colour]) =>
    (of(metric)?.series ?? []).filter(({ labels }) => labels.instance_type === unit).map(({ values }) => ({ label, values, colour, dash: label === "quota" ? [6, 4] : undefined })))]);
}

/** How much a counter has grown since the moment before; nothing where that is not known. */
function grown(series) {
  const rise = (value, before) => (value === null || before === null || before === undefined || value < before ? null : value - before);
  return series.map((line) => ({ ...line, values: line.values.map((value, index) => rise(value, line.values[index - 1])) }));
}
