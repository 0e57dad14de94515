// One job: its story, its times, why it waits and who holds what it needs, how busy it is, how it ended and who can fix that.

import { ApiError, ask, askMaybe, here } from "./api.js";
import { amount, count, duration, el, empty, facts, jobPath, link, moment, percent, place, readable, sharePath, table, utc, withParametersLink, sameQueue } from "./format.js";
import { columns, fill, layOut, live, nameAs, place as spot, scrolling, section } from "./live.js";
import { demandWords, jobRows, unitWords } from "./jobtable.js";
import { roomFor, timeline } from "./timeline.js";
import { drawMeanwhile, meanwhile, waitBars, waitsOf } from "./jobwaits.js";
import { categoryWords, reasonWords, whoCanFix } from "./labels.js";

const [, ID] = here();
const PATH = `api/v1/jobs/${encodeURIComponent(ID)}`;

async function load(tick) {
  try {
    const job = await ask(PATH);
    const [context, estimates, past] = await Promise.all([askMaybe(`api/v1/jobs/${encodeURIComponent(job.id)}/context`), ask("api/v1/estimates"), meanwhile(job, Date.parse(tick.now))]);
    return { job, context, estimates, past };
  } catch (reason) {
    if (reason instanceof ApiError && reason.status === 404) return { unknown: reason.message };
    if (reason instanceof ApiError && reason.status === 409) return { several: reason.jobs };
    throw reason;
  }
}

function draw({ job, context, estimates, past, unknown, several }, tick) {
  if (unknown) return drawUnknown();
  if (several) return drawSeveral(several);
  const now = Date.parse(tick.now);
  const minute = Math.floor(now / 60000);
  nameAs(job.name || job.id);
  layOut(spot("head"), section("timeline", "Timeline"),
    columns([section("why", "Why it waits"), section("start", "When it starts"), scrolling("ahead", "Who goes before it"), section("failure", "Why it failed"),
      scrolling("hosts", "Utilisation by host", "of the last minutes"), section("waits", "What it waited for", "while the service was watching")],
    [scrolling("holders", "Who holds what it needs"), section("meanwhile", "Its share while it waited"), section("alike", "What jobs like it waited"),
      scrolling("attempts", "Attempts"), section("links", "Elsewhere")]));
  const show = (id, isShown, from, make) => {
    document.getElementById(`${id}-section`).hidden = !isShown;
    if (isShown) fill(id, from, make);
  };
  fill("head", [job, minute], () => head(job, now));
  fill("timeline", [job.spans, minute, roomFor()], () => timeline(job.spans, now));
  show("why", job.why !== null, [job.why], () => why(job.why));
  const waits = waitsOf(job);
  show("waits", waits.length > 0, [waits, minute], () => waitBars(waits, now));
  document.getElementById("meanwhile-section").hidden = waits.length === 0;
  if (waits.length > 0) drawMeanwhile(document.getElementById("meanwhile"), past, job);
  show("start", job.start !== null, [job.start, job.start_by, minute], () => starts(job.start, job.start_by, now));
  const { ahead = [], holders = [], alike = null, hosts = [], attempts = [], failure = null, links = {} } = context ?? {};
  show("ahead", job.why !== null, [ahead, job.why, minute], () => aheadOf(ahead, job.why, now));
  show("holders", holders.length > 0, [holders, minute], () => holding(holders, context, now));
  show("alike", job.why !== null || alike !== null, [alike, estimates], () => alikeWaits(alike, estimates, job));
  show("hosts", hosts.length > 0 || job.state === "running", [hosts], () => hostRows(hosts));
  show("failure", failure !== null, [failure, job.status_reason], () => failed(failure, job));
  show("attempts", attempts.length > 0, [attempts], () => attemptRows(attempts));
  show("links", Object.values(links).some(Boolean), [links], () => elsewhere(links));
}

function drawUnknown() {
  nameAs("No such job");
  layOut(spot("head"));
  fill("head", [ID], () => [
    el("h1", {}, "No such job"),
    el("p", { class: "lead" }, "No job is known by ", el("code", {}, ID), "."),
    el("ul", {},
      el("li", {}, "It may have ended: jobs are deleted 7 days after they end, as in AWS Batch."),
      el("li", {}, "It may be in a queue, account or region that is not monitored: ", link("health", "monitored targets"), "."),
      el("li", {}, "It may have been submitted since the last poll: try again in a minute.")),
    el("p", {}, link("jobs", "Find a job"))]);
}

function drawSeveral(jobs) {
  layOut(spot("head"));
  fill("head", [jobs], () => [el("h1", {}, `Which ${ID}?`), el("p", { class: "lead" }, `${count(jobs.length, "job")} have a name, an id or an owner that is or begins with it.`), el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, jobRows(jobs, "None."))]);
}

const MOODS = { running: "good", succeeded: "good", failed: "bad" };

function head(job, now) {
  const left = (value, none) => (value === null ? none : amount(value));
  const running = job.spans.at(-1)?.phase === "running" && job.state === "running" ? job.spans.at(-1) : null;
  const ends = running && job.attempt_timeout_seconds ? new Date(Date.parse(running.from) + 1000 * job.attempt_timeout_seconds).toISOString() : null;
  const isOver = job.state === "succeeded" || job.state === "failed";
  return [
    el("div", { class: "headline" }, el("p", { class: `pill ${MOODS[job.state] ?? "warn"}` }, job.state.replace(/^./, (first) => first.toUpperCase())), el("h1", {}, job.name || job.id)),
    story(job),
    facts([
      ["Share", place(job.queue, job.share, job)],
      ["Owner", job.owner ? withParametersLink("jobs", { owner: job.owner }, job.owner) : "not known"],
      ["Needs", `${demandWords(job.demand)}${job.gpus === null ? "" : ` (${amount(job.gpus)} GPUs)`}`],
      ["Priority", job.priority === null ? null : amount(job.priority)],
      ["Submitted", moment(job.created_at, now)],
      ["Waits", job.waiting_seconds === null ? null : duration(job.waiting_seconds)],
      ["Waited before its first start", job.waiting_seconds === null && job.wait_seconds !== null ? duration(job.wait_seconds) : null],
      ["Ended", job.stopped_at ? moment(job.stopped_at, now) : null],
      ["Attempts", job.attempts ? amount(job.attempts) : null],
      ["Preempted", job.preemptions === null ? "not known" : count(job.preemptions, "time")],
      ["Retries left", isOver ? null : left(job.retries_left, "not known")],
      ["Preemptions left", isOver ? null : left(job.preemptions_left, "unlimited")],
      ["Attempt ends at its time limit", ends ? moment(ends, now) : null],
      ["Ended by the queue's time limit", job.time_limit_at ? moment(job.time_limit_at, now) : null],
      ["Status reason", job.status_reason],
      ["Id", el("code", {}, job.id)],
    ]),
  ];
}

/** Why it waits and when it starts, or how it ended: what most people open the page for. */
function story({ story: lines, start }) {
  const [first, ...rest] = lines;
  const estimate = start !== null && start.made_at !== null ? [start.sentence] : [];
  const shown = [first, ...estimate, ...rest].filter(Boolean);
  return shown.length ? el("div", { class: "panel story" }, ...shown.map((line) => el("p", {}, readable(line)))) : null;
}

const EVIDENCE = [["needs", "It needs"], ["free", "Free in the queue"], ["share_uses", "Its share uses"], ["share_quota", "Its share's quota"], ["share_most", "Maximum for its share"],
  ["lendable", "Other shares could lend"], ["reserved", "Reserved for shares without jobs"], ["capacity", "Total capacity"]];

/** The reason and the numbers that prove it. */
function why({ reason, evidence, permanent }) {
  const given = EVIDENCE.filter(([key]) => evidence[key] !== null);
  return el("div", { class: "panel inset" },
    el("p", {}, el("strong", {}, reasonWords(reason)), permanent ? el("span", { class: "not-ok" }, " It cannot start unless the job or the setup changes.") : null),
    given.length ? facts(given.map(([key, words]) => [words, unitWords(evidence[key], evidence.unit)])) : null);
}

/** The interval on the clock, what it rests on and how often such intervals were right; or why there is none. */
function starts({ sentence, p10, p50, p90, rests_on: rests, would_change: change, coverage, median_error_seconds: error, made_at: made }, startBy, now) {
  const at = (time) => (time === null ? "more than 30 days from now" : moment(time, now));
  const known = made !== null;
  return el("div", { class: "panel inset" },
    known ? null : el("p", {}, readable(sentence)),
    facts([
      ["One in ten starts by (P10)", known ? at(p10) : null],
      ["Half start by (P50)", known ? at(p50) : null],
      ["Nine in ten start by (P90)", known ? at(p90) : null],
      ["Should start by", startBy === null ? null : moment(startBy, now)],
      ["Measured coverage", coverage === null ? null : percent(coverage, 1)],
      ["Median error of P50", error === null ? null : duration(error)],
      ["Estimated", known ? moment(made, now) : null],
    ]),
    rests ? el("p", {}, rests) : null,
    change ? el("p", {}, change) : null);
}

function aheadOf(ahead, why, now) {
  const { position_in_share: share, position_in_queue: queue, gpus_ahead: gpus, position_in_share_at_least: least } = why;
  const words = [
    share === null ? (least ? `At least place ${amount(least)} in its share.` : null) : `Place ${amount(share)} in its share.`,
    queue === null ? null : `Place ${amount(queue)} in the whole queue, according to AWS.`,
    gpus ? `${amount(gpus)} GPUs are asked for before it.` : null,
  ].filter(Boolean).join(" ");
  return [el("p", { class: "empty" }, words || "Its place is not known."), ahead.length ? neighbours("Jobs that go before it", ahead, "Waits", now) : null];
}

function holding(holders, { held_unit: unit, holders_in_all: all }, now) {
  return [el("p", { class: "empty" }, `${count(all, "job")} in flight ${all === 1 ? "holds" : "hold"} ${unit === "NUM_INSTANCES" ? "instances" : unit}${all > holders.length ? `; the ${holders.length} that hold most are shown` : ""}.`),
    neighbours("Jobs that hold what it needs", holders, "Since", now)];
}

function neighbours(caption, jobs, since, now) {
  return table(caption, [
    { title: "Job", cell: (job) => link(jobPath(job.id), job.name || job.id) },
    { title: "Owner", cell: (job) => (job.owner ? withParametersLink("jobs", { owner: job.owner }, job.owner) : "–") },
    { title: "Share", cell: (job) => job.share ?? "no share" },
    { title: "State", cell: (job) => el("span", { class: `job-state ${job.state}` }, job.state) },
    ...(since === "Since" ? [{ title: "Instances", number: true, cell: (job) => amount(job.quantity) }] : []),
    { title: "GPUs", number: true, cell: (job) => amount(job.gpus) },
    { title: since === "Waits" ? "Waits" : "Holds for", number: true, cell: (job) => el("span", { title: `since ${utc(Date.parse(job.since))} UTC` }, duration((now - Date.parse(job.since)) / 1000)) },
  ], jobs);
}

function alikeWaits(alike, estimates, job) {
  const estimate = estimates.find((row) => sameQueue(row, job) && row.share === (job.share ?? ""));
  if (!alike && !estimate) return empty("Too few similar jobs were dispatched.");
  return el("div", { class: "panel inset" }, facts([
    [`Same share, same needs: ${amount(alike?.jobs)} jobs`, alike ? `half started within ${duration(alike.p50_seconds)}, nine of ten within ${duration(alike.p90_seconds)}, the last after ${duration(alike.max_seconds)}` : null],
    ["All jobs of its share in the last day, including those that still wait", estimate ? `half within ${duration(estimate.p50_seconds)}, 95 % within ${duration(estimate.p95_seconds)}` : null],
  ]), job.share ? el("p", {}, link(sharePath(job.queue, job.share), "How its share's waits went")) : null);
}

function hostRows(hosts) {
  if (hosts.length === 0) return empty("No host has reported its GPUs recently: they are polled every few minutes, and not for all queues.");
  const meter = ({ utilisation }) => {
    const filled = el("span", {});
    filled.style.width = `${100 * utilisation}%`;
    return el("div", { class: `meter ${utilisation < 0.1 ? "low" : ""}`, role: "img", "aria-label": percent(utilisation, 1) }, filled);
  };
  return table("GPUs by host", [
    { title: "Host", cell: ({ host }) => host.split("/").at(-1) },
    { title: "GPUs", number: true, cell: ({ gpus }) => amount(gpus) },
    { title: "Busy", number: true, cell: ({ utilisation }) => percent(utilisation, 1) },
    { title: "Load", cell: meter },
    { title: "As of", cell: ({ at }) => `${utc(Date.parse(at)).slice(11, 16)} UTC` },
  ], hosts);
}

function failed({ category, words, next_step: next }, job) {
  return el("div", { class: "panel advice" },
    el("p", {}, el("strong", {}, categoryWords(category)), `: ${words}.`), el("p", {}, el("strong", {}, "Who can fix it: "), whoCanFix(category)),
    el("p", {}, el("strong", {}, "Next: "), next), job.status_reason ? el("p", { class: "faint" }, `Status reason: ${job.status_reason}`) : null);
}

function attemptRows(attempts) {
  const at = (time) => (time ? `${utc(Date.parse(time))} UTC` : "–");
  return table("Attempts as AWS lists them", [
    { title: "Began to run", cell: ({ started_at: time }) => at(time) },
    { title: "Ended", cell: ({ stopped_at: time }) => at(time) },
    { title: "How", cell: ({ preempted, stopped_at: time }) => (preempted ? "preempted" : time ? "ended" : "running") },
    { title: "Status reason", cell: ({ status_reason: reason }) => (reason ? el("span", { class: "wraps" }, reason) : "") },
    { title: "Training job", cell: ({ training_job: name }) => (name ? el("span", { class: "wraps" }, name) : "") },
  ], attempts);
}

function elsewhere({ batch, training_job: training, logs }) {
  const to = (href, words) => (href ? el("li", {}, el("a", { href }, words)) : null);
  return el("ul", {}, to(batch, "The job in the AWS Batch console"), to(training, "Its training job in the SageMaker console"), to(logs, "Its logs in CloudWatch"));
}

live({ load, draw });
