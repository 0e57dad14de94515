// One alert, for somebody whom a message has led here: is it bad, since when, why, whose jobs, what to do, who knows, and how to silence it.

import { ApiError, ask, askMaybe, askPage, here, withParameters } from "./api.js";
import { chart } from "./chart.js";
import { amount, duration, el, empty, facts, jobPath, link, measure, moment, queuePath, readable, sharePath, shownLabels, table, withParametersLink } from "./format.js";
import { columns, fill, layOut, live, nameAs, place as spot, reload, scrolling, section } from "./live.js";
import { silenceForm } from "./silence.js";
import { jobRows } from "./jobtable.js";
import { endingWords, severityRank } from "./labels.js";

const [, ID] = here();
const PATH = `api/v1/alerts/${encodeURIComponent(ID)}`;
const JOBS_SHOWN = 10;

async function load() {
  try {
    const detail = await ask(PATH);
    const { alert } = detail;
    const runbook = ownRunbook(alert.annotations);
    const [figure, jobs, sent, text] = await Promise.all([
      askMaybe(`${PATH}/figure`),
      alert.state === "resolved" ? null : askMaybe(jobsBehind(alert, detail.rule)),
      askMaybe(`api/v1/outbox?alert=${encodeURIComponent(ID)}&state=pending,delivered,dead,muted&limit=100`),
      runbook ? runbookText(runbook) : null,
    ]);
    return { detail, figure, jobs, sent, runbook, text };
  } catch (reason) {
    if (reason instanceof ApiError && reason.status === 404) return { gone: reason.message };
    throw reason;
  }
}

/** The jobs that an alert is about, by what its metric counts. */
function jobsBehind({ labels }, rule) {
  const of = { queue: labels.queue, share: labels.share, owner: labels.owner, account: labels.account, region: labels.region, limit: JOBS_SHOWN };
  if (labels.job) return `api/v1/jobs?id=${encodeURIComponent(labels.job)}`;
  const metric = rule?.metric ?? "";
  if (/^job\.(failure|ended|lost)/.test(metric)) return withParameters("api/v1/jobs", { ...of, state: "failed", sort: "newest" });
  if (/^(gpu\.|job\.run|reserved\.)/.test(metric)) return withParameters("api/v1/jobs", { ...of, state: "running" });
  return withParameters("api/v1/jobs", { ...of, sort: "waiting" });
}

/** The jobs and their owners, and where the rest of them is. */
function behindIt(jobs, next, { labels }, rule) {
  const owners = new Map();
  for (const { owner } of jobs) owners.set(owner, (owners.get(owner) ?? 0) + 1);
  const named = [...owners].sort(([, a], [, b]) => b - a).flatMap(([owner, some], index) =>
    [index ? ", " : "", owner ? withParametersLink("jobs", { owner }, owner) : "no owner", ` ${amount(some)}`]);
  const all = new URL(jobsBehind({ labels }, rule), import.meta.url).searchParams;
  all.delete("limit");
  const head = jobs.length ? el("p", { class: "empty" }, next ? `Owners of the first ${jobs.length}: ` : "Owners: ", ...named,
    next ? el("span", {}, ". ", link(`jobs?${all}`, "All jobs behind it")) : null) : null;
  return [head, jobRows(jobs, "No job is behind it now.")];
}

const texts = new Map();

async function runbookText(name) {
  if (!texts.has(name)) {
    const page = await askPage(`runbooks/${name}`).catch(() => null);
    texts.set(name, page?.getElementById("main") ?? null);
  }
  return texts.get(name) ? name : null;
}

/** The name of the runbook, if it is one of the service's own. */
function ownRunbook({ runbook_url, runbook }) {
  return (runbook_url ?? runbook ?? "").match(/^(?:docs)?\/?runbooks\/([\w-]+?)(?:\.md)?$/)?.[1] ?? null;
}

/** Somebody's own runbook: a link to a page has an origin, one that would run something has none. */
function otherRunbook({ runbook_url, runbook }) {
  const given = runbook_url ?? runbook ?? "";
  const isPage = URL.canParse(given) && /^https?:$/.test(new URL(given).protocol);
  return isPage ? el("a", { href: given }, given) : null;
}

function draw(data, tick) {
  if (data.gone) return drawGone(data.gone);
  const { detail, figure, jobs, sent, text } = data;
  const { alert } = detail;
  const now = Date.parse(tick.now);
  nameAs(alert.rule);
  layOut(spot("head"), columns([spot("cause"), section("figure", "The figure"), section("silence", "Silence"), scrolling("jobs", "Jobs behind it")],
    [section("sent", "Who was notified"), section("runbook", "What to do"), section("episodes", "When it fired")]));
  const minute = Math.floor(now / 60000);
  fill("head", [detail, minute], () => head(detail, now));
  fill("cause", [alert.annotations, alert.state, jobs === null], () => cause(alert, jobs !== null));
  fill("figure", [figure, alert.state], () => [el("div", { id: "chart" }), meanwhile(figure, alert.labels)]);
  drawFigure(figure, alert, now);
  document.getElementById("jobs-section").hidden = jobs === null;
  fill("jobs", [jobs], () => behindIt(jobs?.jobs ?? [], jobs?.next ?? null, alert, detail.rule));
  document.getElementById("silence-section").hidden = alert.state === "resolved";
  fill("silence", [alert.silences ?? null, alert.labels], () => silenceForm(alert, now, reload));
  fill("sent", [sent, minute], () => notifications(sent, now));
  fill("runbook", [text, alert.annotations], () => runbookPart(text, alert.annotations));
  fill("episodes", [detail.episodes, minute], () => episodes(detail.episodes, alert.unit, now));
}

function drawGone(message) {
  layOut(spot("head"));
  fill("head", [message], () => [el("h1", {}, "No such alert"), el("p", {}, message), el("p", {}, link("alerts", "All alerts"))]);
}

function head({ alert, rule, console: aws }, now) {
  const { severity, job } = alert.labels;
  const rank = severityRank(severity ?? "");
  const mood = { firing: rank >= 2 ? "bad" : "warn", pending: "warn", resolved: "good" }[alert.state];
  const ended = alert.state === "resolved";
  const summary = readable(alert.annotations.summary ?? "");
  return [
    el("div", { class: "headline" }, el("p", { class: `pill ${mood}` }, ended ? "Ended" : alert.state.replace(/^./, (c) => c.toUpperCase())),
      severity ? el("span", { class: `tag severity-${severity}` }, severity) : null, el("h1", {}, alert.rule)),
    el("p", { class: "lead" }, ended && summary ? `Was: ${summary}` : summary),
    alert.annotations.description ? el("p", { class: "faint" }, readable(alert.annotations.description)) : null,
    facts([
      [ended ? "Ended" : "Since", ended ? moment(alert.resolved_at, now) : moment(alert.fired_at ?? alert.active_at, now)],
      ["Fired", ended && alert.fired_at ? moment(alert.fired_at, now) : null],
      ["Because", alert.ending ? endingWords(alert.ending) : null],
      [ended ? "Last value" : "Value", measure(alert.value, alert.unit)],
      ["Value when it fired", alert.value_at_fire === null ? null : measure(alert.value_at_fire, alert.unit)],
      ["Condition", rule ? condition(rule, alert.unit) : alert.threshold === null ? null : `threshold ${measure(alert.threshold, alert.unit)}`],
      ...shownLabels(alert.labels).map(([name, value]) => [name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase()), labelLink(name, value, alert.labels)]),
      ["AWS console", aws ? el("a", { href: aws }, job ? "The job" : "The queue") : null],
    ]),
  ];
}

function condition({ metric, above, threshold, recover, for_seconds: hold }, unit) {
  const side = above ? "above" : "below";
  const held = hold > 0 ? ` for ${duration(hold)}` : "";
  const end = recover === threshold ? "" : `; resolves at ${measure(recover, unit)}`;
  return el("span", {}, el("code", {}, metric), ` ${side} ${measure(threshold, unit)}${held}${end}`);
}

function labelLink(name, value, labels) {
  if (value === "") return "none";
  if (name === "queue") return link(queuePath(value, labels), value);
  if (name === "share" && labels.queue) return link(sharePath(labels.queue, value, labels), value);
  if (name === "job") return link(jobPath(value), value);
  if (name === "owner") return link(withParameters("jobs", { owner: value }), value);
  return value;
}

function cause({ annotations, state }, areListed) {
  const { likely_reason, next_step, jobs } = annotations;
  if (state === "resolved" || !(likely_reason || next_step || jobs)) return [];
  return [el("div", { class: "panel advice" },
    likely_reason ? el("p", {}, el("strong", {}, "Likely reason: "), `${likely_reason}.`) : null,
    next_step ? el("p", {}, el("strong", {}, "Next: "), `${next_step}.`) : null,
    jobs && !areListed ? el("ul", { class: "plain" }, ...jobs.split("; ").map((line) => el("li", {}, readable(line)))) : null)];
}

/** What else was recorded of its queue or share in the time of the figure. */
function meanwhile(figure, labels) {
  if (!figure || !labels.queue) return null;
  const time = { from: figure.from, to: figure.to };
  return el("p", { class: "faint under" }, labels.share ? link(sharePath(labels.queue, labels.share, labels, time), "Its share in this time") : link(queuePath(labels.queue, labels, time), "Its queue in this time"));
}

let drawnFigure = null;

function drawFigure(figure, alert, now) {
  const key = JSON.stringify([figure, alert.state]);
  const host = document.getElementById("chart");
  if (drawnFigure === key && host.hasChildNodes()) return;
  drawnFigure = key;
  if (!figure) return host.replaceChildren(empty("History is not available now."));
  const seconds = (at) => Date.parse(at) / 1000;
  const to = seconds(figure.to);
  const fired = alert.fired_at ? [{ from: seconds(alert.fired_at), to: alert.resolved_at ? seconds(alert.resolved_at) : Math.min(to, now / 1000), label: `${alert.rule} fires` }] : [];
  chart(host, {
    title: `${figure.metric ?? "Value"} from 6h before, threshold ${measure(figure.threshold, figure.unit)}`,
    at: figure.at.map(seconds), series: [{ label: "value", values: figure.values }], unit: figure.unit, threshold: figure.threshold,
    range: [seconds(figure.from), to], step: Math.max(figure.step_seconds, 60), marks: fired,
    empty: figure.why_none ? `No chart: ${figure.why_none}.` : undefined,
  });
}

function notifications(sent, now) {
  if (sent === null) return empty("The outbox is not available now.");
  if (sent.notifications.length === 0) return empty("No notifications: no receiver matches this alert, or the records have expired.");
  const states = { delivered: "delivered", pending: "waits", dead: "given up", muted: "not sent: it was over before" };
  const rows = [...sent.notifications].reverse();
  return el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Notifications" }, table("Notifications of this alert", [
    { title: "Receiver", cell: (row) => row.receiver },
    { title: "Of", cell: (row) => (row.kind === "fired" ? "firing" : "its end") },
    { title: "State", cell: (row) => states[row.state] ?? row.state },
    { title: "When", cell: (row) => moment(row.settled_at ?? row.created_at, now) },
    { title: "Attempts", number: true, cell: (row) => amount(row.attempts) },
    { title: "Answer", cell: (row) => (row.last_error ? el("span", { class: "wraps" }, row.last_error) : row.state === "delivered" ? "accepted" : ""), wide: true },
  ], rows));
}

function runbookPart(name, annotations) {
  const other = otherRunbook(annotations);
  if (other) return el("p", {}, "Runbook: ", other);
  if (!name) return empty("The rule has no runbook.");
  const text = document.importNode(texts.get(name), true);
  const heading = text.querySelector("h1");
  // Below a heading of the page its own are one deeper.
  for (const deeper of text.querySelectorAll("h2")) deeper.replaceWith(el("h4", {}, deeper.textContent));
  heading?.replaceWith(el("h3", {}, link(`runbooks/${name}`, heading.textContent)));
  for (const own of text.querySelectorAll("a[href]")) own.href = new URL(own.getAttribute("href"), new URL(`runbooks/${name}`, new URL("../", import.meta.url))).href;
  return el("div", { class: "panel runbook inset" }, ...text.childNodes);
}

function episodes(all, unit, now) {
  if (all.length === 0) return empty("It has not fired in the last 30 days.");
  return el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Times it fired" }, table("When it fired in the last 30 days", [
    { title: "Fired", cell: (row) => moment(row.fired_at, now) },
    { title: "Lasted", cell: (row) => (row.resolved_at ? duration((Date.parse(row.resolved_at) - Date.parse(row.fired_at)) / 1000) : "still fires") },
    { title: "Ended because", cell: (row) => (row.ending ? endingWords(row.ending) : "") },
    { title: "Value when it fired", number: true, cell: (row) => measure(row.value_at_fire, unit) },
  ], all));
}

live({ load, draw });
