// The sections of the page: data in, elements out. Nothing here fetches or remembers.

import { waterfall } from "./gpus.js";
import { amount, count, duration, el, empty, label, measure, percent, place, table, utc } from "./format.js";

/** Job states in the order in which a job passes through them. */
const STATES = ["submitted", "pending", "runnable", "scheduled", "starting", "running", "succeeded", "failed"];
const WAITING = ["submitted", "pending", "runnable"];

/** The numbers one looks at first. */
export function totals({ queues, alerts, waterfall: rows }) {
  const firing = alerts.filter(({ state }) => state === "firing").length;
  const pending = alerts.filter(({ state }) => state === "pending").length;
  const waiting = queues.reduce((sum, { jobs }) => sum + WAITING.reduce((n, state) => n + (jobs[state] ?? 0), 0), 0);
  const oldest = queues.map((queue) => queue.oldest_wait_seconds).filter((age) => age !== null);
  const capacity = rows.reduce((sum, row) => sum + (row.capacity_gpus ?? 0), 0);
  const busy = rows.filter((row) => row.capacity_gpus !== null).reduce((sum, { parts }) => sum + (parts.running_busy ?? 0), 0);
  const tile = (title, value, note, mood = "") =>
    el("li", { class: `tile ${mood}` }, el("span", { class: "title" }, title), el("strong", {}, value), el("span", { class: "note" }, note));
  return [
    tile("Alerts firing", amount(firing), pending ? `${amount(pending)} pending` : "none pending", firing ? "bad" : "good"),
    tile("Jobs waiting", amount(waiting), `in ${count(queues.length, "queue")}`),
    tile("Oldest wait", oldest.length ? duration(Math.max(...oldest)) : "none", oldest.length ? "and still waiting" : "nothing waits"),
    tile("GPUs busy", percent(busy, capacity), capacity ? `${amount(busy)} of ${amount(capacity)}` : "capacity not known"),
    ...cost(rows).map(({ all, idle }) => tile("Idle GPUs cost", `$${amount(idle)} / h`, `of $${amount(all)} / h`)),
  ];
}

/** Dollars per hour of all GPUs and of those that do nothing; nothing where prices are not configured. */
function cost(rows) {
  const known = rows.map((row) => row.dollars_per_hour).filter((dollars) => Object.keys(dollars).length > 0);
  if (known.length === 0) return [];
  const sum = (parts) => known.reduce((all, dollars) => all + parts(dollars).reduce((a, b) => a + b, 0), 0);
  const idle = sum(({ unallocated = 0, running_idle = 0 }) => [unallocated, running_idle]);
  return [{ all: Math.round(sum(Object.values)), idle: Math.round(idle) }];
}

/** The runbook of an alert: a page of the service, or somebody's own. */
function runbook({ runbook_url, runbook }) {
  const link = runbook_url ?? runbook ?? "";
  const own = link.match(/^(?:docs)?\/?runbooks\/([\w-]+?)(?:\.md)?$/);
  if (own) return [el("a", { href: `runbooks/${own[1]}` }, "Runbook")];
  // A link to a page has an origin; one that would run something has none.
  return URL.canParse(link) && new URL(link).origin !== "null" ? [el("a", { href: link }, "Runbook")] : [];
}

/**
 * Alerts, in the order of the API: firing, pending, resolved. `now` is the service's time in milliseconds. `wanted` is the id of
 * the element to which the address leads: one is there for it even if the alert is not any more.
 */
export function alerts(rows, now, failing, wanted = "") {
  const gone = /^alert-[0-9a-f]+$/.test(wanted) && !rows.some(({ id }) => `alert-${id}` === wanted);
  if (rows.length === 0 && !gone) {
    return empty(failing.length ? `No alerts, but rules that rest on a failing source are not evaluated (${failing.join(", ")}).` : "No alerts.");
  }
  const since = (at) => duration((now - Date.parse(at)) / 1000);
  const missing = gone
    ? [el("li", { class: "alert wanted", id: wanted }, el("p", { class: "what" }, "The alert of this link is not firing and has not resolved recently. Test notifications are not shown here."))]
    : [];
  return el("ul", { class: "alerts" }, ...missing, ...rows.map((alert) => {
    const { summary, description, likely_reason, next_step } = alert.annotations;
    const words = { firing: `for ${since(alert.fired_at ?? alert.active_at)}`, pending: `for ${since(alert.active_at)}`, resolved: `${since(alert.resolved_at)} ago` };
    const labels = Object.entries(alert.labels).filter(([name]) => name !== "alertname");
    const id = `alert-${alert.id}`;
    return el("li", { class: `alert ${alert.state}${id === wanted ? " wanted" : ""}`, id },
      el("div", { class: "state" }, el("strong", {}, alert.state), el("span", { class: "faint" }, words[alert.state] ?? "")),
      el("div", { class: "what" },
        el("p", {}, el("strong", {}, alert.rule), " ", summary ?? description ?? ""),
        ...(likely_reason && alert.state !== "resolved" ? [el("p", { class: "faint" }, `${likely_reason}. Next: ${next_step}.`)] : []),
        ...alert.silences.map(({ ends_at, author, comment }) => el("p", { class: "silence" }, `Silenced until ${utc(Date.parse(ends_at))} UTC by ${author}: ${comment}`)),
        el("p", { class: "labels" }, ...labels.map(([name, value]) => el("span", { class: "tag" }, label(name, value))), ...runbook(alert.annotations))),
      el("div", { class: "value" }, el("strong", {}, measure(alert.value, alert.unit)),
        el("span", { class: "faint" }, alert.ending ? alert.ending.replaceAll("_", " ") : alert.threshold === null ? "value" : `threshold ${measure(alert.threshold, alert.unit)}`)));
  }));
}

/** One card per queue. */
export function queues(rows, waterfalls, span) {
  if (rows.length === 0) return [empty("No queues are watched, or none is known yet.")];
  return rows.map(({ queue, policy, jobs, oldest_wait_seconds: oldest }) => {
    const states = [...STATES.filter((state) => state in jobs), ...Object.keys(jobs).filter((state) => !STATES.includes(state))];
    const gpus = waterfalls.find((row) => row.queue === queue);
    return el("article", { class: "panel queue", "aria-label": `Queue ${queue}` },
      el("header", {},
        el("h3", {}, queue), el("span", { class: "tag" }, policy.toLowerCase().replaceAll("_", " ")),
        el("p", { class: "oldest" }, el("span", { class: "faint" }, "oldest wait "), el("strong", {}, oldest === null ? "none" : duration(oldest)))),
      el("ul", { class: "states", "aria-label": "Jobs by state" }, ...states.map((state) =>
        el("li", { class: `${jobs[state] === 0 ? "zero" : ""} state-${state}` }, el("strong", {}, amount(jobs[state])), el("span", {}, state)))),
      gpus ? waterfall(gpus, span) : null);
  });
}

/** Shares with bars on one scale per queue and unit, so that bars can be compared. */
export function shares(rows) {
  if (rows.length === 0) return empty("No shares.");
  const scales = new Map();
  const group = (row) => `${row.queue}\n${row.unit}`;
  for (const row of rows) scales.set(group(row), Math.max(scales.get(group(row)) ?? 0, row.used, row.quota ?? 0));
  const pieces = ["own", "free", "lent", "borrowed"].map((name) =>
    el("li", {}, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), name));
  const legend = el("ul", { class: "key" }, ...pieces, el("li", {}, el("span", { class: "swatch mark", "aria-hidden": "true" }), "quota"));
  return el("div", {}, legend, table("Shares: quota, used, borrowed and lent", [
    { title: "Share", cell: (row) => place(row.queue, row.share) },
    { title: "Unit", cell: (row) => row.unit === "NUM_INSTANCES" ? "any instance" : row.unit },
    { title: "Capacity", cell: (row) => shareBar(row, scales.get(group(row))) },
    { title: "Used", number: true, cell: (row) => amount(row.used) },
    { title: "Quota", number: true, cell: (row) => amount(row.quota) },
    { title: "Borrowed", number: true, cell: (row) => amount(row.borrowed) },
    { title: "Lent", number: true, cell: (row) => amount(row.lent) },
  ], rows));
}

/** Within the quota: own, free, lent; beyond its mark: borrowed. */
function shareBar({ quota, used, borrowed, lent }, scale) {
  const own = used - borrowed;
  const free = Math.max(0, (quota ?? own) - own - lent);
  const words = `own ${amount(own)}, free ${amount(free)}, lent ${amount(lent)}, borrowed ${amount(borrowed)}`;
  const bar = el("span", { class: "share-bar", role: "img", "aria-label": words, title: words });
  const add = (size, name) => {
    if (size <= 0) return;
    const piece = el("span", { class: name });
    piece.style.width = `${(100 * size) / (scale || 1)}%`;
    bar.append(piece);
  };
  add(own, "own");
  add(free, "free");
  add(lent, "lent");
  if (quota !== null && quota > 0) bar.append(el("span", { class: "mark" }));
  add(borrowed, "borrowed");
  return bar;
}

/** What fair shares are due by weight, and what they have held on average; nothing where no queue has a fair-share policy. */
export function fairShares(rows) {
  if (rows.length === 0) return [];
  const gpus = (value) => amount(Math.round(value * 10) / 10);
  return [table("Fair shares in GPUs", [
    { title: "Fair share", cell: (row) => place(row.queue, row.share) },
    { title: "GPUs due", number: true, cell: (row) => gpus(row.target) },
    { title: "In use", number: true, cell: (row) => gpus(row.used) },
    { title: "Recent average", number: true, cell: (row) => gpus(row.recent) },
  ], rows)];
}

/** Training plans and warm pools: what is paid for whether jobs use it or not. */
export function reserved(rows) {
  return table("Reserved instances by plan and pool", [
    { title: "Plan or pool", cell: (row) => row.name },
    { title: "Kind", cell: (row) => row.kind.replaceAll("_", " ") },
    { title: "Type", cell: (row) => row.instance_type },
    { title: "Instances", number: true, cell: (row) => amount(row.total) },
    { title: "In use", number: true, cell: (row) => amount(row.in_use) },
    { title: "Idle", number: true, cell: (row) => amount(row.idle) },
  ], rows);
}

/** Which share works on whose quota. */
export function loans(rows) {
  if (rows.length === 0) return empty("No share has worked on another's quota.");
  return table("GPUs by lender and borrower", [
    { title: "Quota of", cell: (row) => place(row.queue, row.lender) },
    { title: "Used by", cell: (row) => row.borrower },
    { title: "GPUs now", number: true, cell: (row) => amount(row.gpus) },
    { title: "GPU-hours so far", number: true, cell: (row) => amount(Math.round(row.gpu_hours * 10) / 10) },
  ], rows);
}

/** Why jobs wait, the most common reason first. */
export function reasons(rows) {
  if (rows.length === 0) return empty("Nothing waits.");
  const sorted = [...rows].sort((a, b) => b.jobs - a.jobs);
  return table("Waiting jobs by reason", [
    { title: "Why", cell: (row) => row.reason.replaceAll("_", " ") },
    { title: "Share", cell: (row) => place(row.queue, row.share) },
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "GPUs asked for", number: true, cell: (row) => amount(row.gpus) },
  ], sorted);
}

/** Who had jobs fail in the last day, and who can fix it. */
export function failures(rows) {
  if (rows.length === 0) return empty("No job failed in the last day.");
  return table("Failed jobs of the last day by owner and category", [
    { title: "Owner", cell: (row) => row.owner || "no owner" },
    { title: "Share", cell: (row) => place(row.queue, row.share) },
    { title: "Category", cell: (row) => row.category.replaceAll("_", " ") },
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "GPU-hours of the last attempts", number: true, cell: (row) => amount(Math.round(row.gpu_hours * 10) / 10) },
  ], rows.slice(0, 20));
}

/** What is wrong with the set-up, and what would mend it. */
export function setup(rows) {
  if (rows.length === 0) return empty("Nothing is wrong with the set-up of queues and shares.");
  return el("ul", { class: "findings" }, ...rows.map(({ queue, share, what, advice }) =>
    el("li", {}, share === null ? el("span", {}, queue) : place(queue, share), el("p", {}, el("strong", {}, what), " ", el("span", { class: "faint" }, advice)))));
}

/** What was, of jobs that started; and what to expect, with those that still wait counted in. */
export function waits(rows, estimates) {
  if (rows.length === 0 && estimates.length === 0) return empty("No job was dispatched yet.");
  const same = (a) => (b) => a.queue === b.queue && a.share === b.share;
  const none = { count: 0, p50_seconds: null, p95_seconds: null, max_seconds: null };
  const all = [...rows, ...estimates.filter((one) => !rows.some(same(one))).map(({ queue, share }) => ({ queue, share, ...none }))];
  return table("First waits by share", [
    { title: "Share", cell: (row) => place(row.queue, row.share) },
    { title: "Jobs", number: true, cell: (row) => amount(row.count) },
    { title: "p50", number: true, cell: (row) => duration(row.p50_seconds) },
    { title: "p95", number: true, cell: (row) => duration(row.p95_seconds) },
    { title: "Longest", number: true, cell: (row) => duration(row.max_seconds) },
    { title: "p95 with those waiting", number: true, cell: (row) => duration(estimates.find(same(row))?.p95_seconds) },
  ], all);
}

export function jobs(rows) {
  if (rows.length === 0) return empty("Nothing waits.");
  return table("Jobs that have waited longest and still wait", [
    { title: "Job", cell: (job) => el("a", { href: `api/v1/jobs/${encodeURIComponent(job.id)}`, title: job.id }, job.name) },
    { title: "Share", cell: (job) => place(job.queue, job.share) },
    { title: "Waits", number: true, cell: (job) => duration(job.waiting_seconds) },
    { title: "Needs", cell: (job) => job.demand.map(({ unit, quantity }) => `${amount(quantity)} × ${unit}`).join(", ") },
    { title: "GPUs", number: true, cell: (job) => amount(job.gpus) },
    { title: "Priority", number: true, cell: (job) => amount(job.priority) },
    { title: "Preempted", number: true, cell: (job) => amount(job.preemptions) },
    { title: "Owner", cell: (job) => job.owner },
    { title: "Why", cell: (job) => job.why?.story[0] ?? job.status_reason },
  ], rows);
}

export function sources(rows) {
  return rows.map(({ source, age_seconds: age, error }) => {
    const mood = error ? "bad" : age === null ? "unknown" : "good";
    return el("li", { class: `source ${mood}` },
      el("strong", {}, source.replaceAll("_", " ")),
      el("span", {}, age === null ? "no answer yet" : `${duration(age)} old`),
      error ? el("span", { class: "error" }, error) : null);
  });
}
