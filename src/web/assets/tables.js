// Tables of failures and of what is wrong with the set-up, as several pages show them.

import { amount, el, empty, link, place, queuePath, table, accountAndRegionText, withParametersLink } from "./format.js";
import { categoryWords, whoCanFix } from "./labels.js";

/** Findings that are not folded away, and rows of failures. */
const FIRST_FINDINGS = 10;
const FAILURES_SHOWN = 20;

/** Who had jobs fail in the last day, and who can fix it. */
export function failures(rows) {
  if (rows.length === 0) return empty("No job failed in the last day.");
  const shown = table("Failed jobs of the last day by owner and category", [
    { title: "Owner", cell: (row) => (row.owner ? withParametersLink("jobs", { owner: row.owner, state: "FAILED", sort: "newest" }, row.owner) : "no owner") },
    { title: "Share", cell: (row) => place(row.queue, row.share, row) },
    { title: "Category", cell: (row) => categoryWords(row.category) },
    { title: "Who can fix it", cell: (row) => whoCanFix(row.category) },
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "GPU-hours of the last attempts", number: true, cell: (row) => amount(Math.round(row.gpu_hours * 10) / 10) },
  ], rows.slice(0, FAILURES_SHOWN));
  return rows.length > FAILURES_SHOWN ? [shown, el("p", { class: "empty" }, `${amount(rows.length - FAILURES_SHOWN)} more owners and categories`)] : shown;
}

/** What is wrong with the set-up, and what would mend it. */
export function setup(rows) {
  if (rows.length === 0) return empty("No problems found in the set-up of queues and shares.");
  const list = (some) => el("ul", { class: "findings panel" }, ...some.map(({ queue, share, what, advice, ...row }) =>
    el("li", {}, share === null ? el("span", {}, link(queuePath(queue, row), queue), el("span", { class: "faint" }, ` ${accountAndRegionText(row) ?? ""}`)) : place(queue, share, row), el("p", {}, el("strong", {}, what), " ", el("span", { class: "faint" }, advice)))));
  const rest = rows.slice(FIRST_FINDINGS);
  return [list(rows.slice(0, FIRST_FINDINGS)), rest.length ? el("details", {}, el("summary", {}, `${amount(rest.length)} more`), list(rest)) : null];
}
