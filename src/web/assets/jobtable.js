// Jobs in a table, as several pages show them.

import { amount, duration, el, empty, jobPath, link, place, table, withParametersLink } from "./format.js";
import { reasonWords } from "./words.js";

/** `2 × ml.p5.48xlarge`. */
export function demandWords(demand) {
  return demand.map(({ unit, quantity }) => `${amount(quantity)} × ${unit === "NUM_INSTANCES" ? "any instance" : unit}`).join(", ") || "–";
}

/** For how long a job waits, or how long it waited. */
function waitWords({ waiting_seconds: waiting, wait_seconds: wait }) {
  return waiting === null ? (wait === null ? "–" : el("span", { class: "faint" }, duration(wait))) : duration(waiting);
}

/** A table of jobs, each with a link to its page. */
export function jobRows(jobs, none) {
  if (jobs.length === 0) return empty(none);
  return table("Jobs", [
    { title: "Job", cell: (job) => link(jobPath(job.id), job.name || job.id) },
    { title: "State", cell: (job) => el("span", { class: `job-state ${job.status}` }, job.status) },
    { title: "Share", cell: (job) => place(job.queue, job.share, job) },
    { title: "Owner", cell: (job) => (job.owner ? withParametersLink("jobs", { owner: job.owner }, job.owner) : "–") },
    { title: "Waits", number: true, cell: waitWords },
    { title: "GPUs", number: true, cell: (job) => amount(job.gpus) },
    { title: "Needs", cell: (job) => demandWords(job.demand) },
    { title: "Why", cell: (job) => (job.why ? el("span", { title: job.why.story[0] ?? "" }, reasonWords(job.why.reason)) : el("span", { class: "clip", title: job.status_reason ?? "" }, job.status_reason ?? "")) },
  ], jobs);
}
