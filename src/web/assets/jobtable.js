// Jobs in a table, as several pages show them.

import { amount, count, duration, el, empty, jobPath, link, place, readable, table, withParametersLink } from "./format.js";
import { reasonWords } from "./labels.js";

/** `2 × ml.p5.48xlarge`, or `2 instances of any type`. */
export function unitWords(quantity, unit) {
  return unit === "NUM_INSTANCES" ? `${count(quantity, "instance")} of any type` : `${amount(quantity)} × ${unit}`;
}

/** What a job needs. */
export function demandWords(demand) {
  return demand.map(({ unit, quantity }) => unitWords(quantity, unit)).join(", ") || "–";
}

/** For how long a job waits, or how long it waited. */
function waitWords({ waiting_seconds: waiting, wait_seconds: wait }) {
  return waiting === null ? (wait === null ? "–" : el("span", { class: "faint" }, duration(wait))) : duration(waiting);
}

/** Why it waits, or what AWS says of its end; of a success there is nothing to say. */
function whyWords({ why, status, status_reason: said }) {
  if (why) return el("span", { title: readable(why.story[0] ?? "") }, reasonWords(why.reason));
  return said && status !== "succeeded" ? el("span", { class: "clip", title: said }, said) : "";
}

/** A table of jobs, each with a link to its page. */
export function jobRows(jobs, none) {
  if (jobs.length === 0) return empty(none);
  return table("Jobs", [
    { title: "Job", cell: (job) => link(jobPath(job.id), job.name || job.id) },
    { title: "State", cell: (job) => el("span", { class: `job-state ${job.state}` }, job.state) },
    { title: "Share", cell: (job) => place(job.queue, job.share, job) },
    { title: "Owner", cell: (job) => (job.owner ? withParametersLink("jobs", { owner: job.owner }, job.owner) : "–") },
    { title: "Waits", number: true, cell: waitWords },
    { title: "GPUs", number: true, cell: (job) => amount(job.gpus) },
    { title: "Needs", cell: (job) => demandWords(job.demand) },
    { title: "Why", cell: whyWords, wide: true },
  ], jobs);
}
