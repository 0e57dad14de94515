// What if: the past that is kept, replayed as it was and with changes. The changes are in the address, so that a link keeps them.

import { ApiError, ask } from "./api.js";
import { amount, count, duration, el, table, utc } from "./format.js";
import { fill, layOut, live, place, reload } from "./live.js";

const KEYS = [
  ["queue.Q.capacity=+4", "instances of the queue's environment; +N and -N are relative"],
  ["queue.Q.share.S.quota=8", "quota of the share, in instances"],
  ["queue.Q.share.S.borrow_limit=none", "borrow limit, in percent of the quota"],
  ["queue.Q.share.S.sharing=lend-and-borrow", "or lend, or reserve"],
  ["queue.Q.share.S.weight=0.5", "in a fair-share queue; a lower weight gets more"],
  ["queue.Q.share.S.priority=10", "priority of all jobs of the share"],
  ["queue.Q.policy=fair-share", "or fifo, or quota-shares"],
];

const asked = () => new URLSearchParams(location.search).getAll("set").filter(Boolean);

/** A replay takes a while, and the past that is kept changes little: it is asked for once for each set of changes. */
let answered = null;

async function load() {
  const changes = asked();
  const query = new URLSearchParams(changes.map((change) => ["set", change])).toString();
  if (answered?.query === query) return answered;
  const queues = await ask("api/v1/queues");
  try {
    answered = { query, queues, report: await ask(`api/v1/what-if${query ? `?${query}` : ""}`) };
    return answered;
  } catch (reason) {
    if (reason instanceof ApiError && [400, 409].includes(reason.status)) return { query, queues, wrong: reason.message };
    throw reason;
  }
}

function draw({ query, queues, report, wrong }) {
  layOut(el("h1", {}, "What if"), el("p", { class: "lead" }, "Replays the recorded past, unchanged and with changes."), place("form"), place("answer"));
  fill("form", [query, queues.map(({ queue }) => queue)], () => form(queues));
  if (wrong) return fill("answer", [wrong], () => el("p", { class: "banner" }, wrong));
  return fill("answer", [report], () => answer(report));
}

function form(queues) {
  const text = el("textarea", { name: "set", rows: "3", spellcheck: "false", "aria-label": "Changes, one per line", placeholder: `queue.${queues[0]?.queue ?? "research"}.capacity=+4` });
  text.value = asked().join("\n");
  const made = el("form", { class: "form" }, text, el("button", { type: "submit" }, "Replay"));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const changes = text.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const query = new URLSearchParams(changes.map((change) => ["set", change])).toString();
    history.pushState(null, "", query ? `?${query}` : location.pathname);
    await reload();
  });
  return [made, el("details", {}, el("summary", {}, "What can be changed"), el("ul", {}, ...KEYS.map(([key, words]) => el("li", {}, el("code", {}, key), ` ${words}`))))];
}

function answer({ from, to, jobs, changes, notes, shares, queues }) {
  const time = (seconds) => (seconds === null || seconds === undefined ? "–" : duration(seconds));
  const waits = [
    { title: "Queue", cell: ({ queue }) => queue },
    { title: "Share", cell: ({ share }) => share || "no share" },
    { title: "Jobs", number: true, cell: (row) => amount(row.jobs) },
    { title: "p95 as recorded", number: true, cell: (row) => time(row.happened?.p95_seconds) },
    { title: "p50 before", number: true, cell: (row) => time(row.before.p50_seconds) },
    { title: "p50 after", number: true, cell: (row) => time(row.after.p50_seconds) },
    { title: "p95 before", number: true, cell: (row) => time(row.before.p95_seconds) },
    { title: "p95 after", number: true, cell: (row) => time(row.after.p95_seconds) },
    { title: "May be off by", number: true, cell: (row) => time(row.p95_error_seconds) },
  ];
  const figure = (row, key, words) => ["happened", "before", "after"].map((replay) => {
    const value = row[replay]?.[key];
    return value === null || value === undefined ? "–" : words(value);
  });
  const uses = queues.flatMap((row) => [
    ["Utilisation", ...figure(row, "utilisation", (part) => `${(100 * part).toFixed(1)} %`)],
    ["Preemptions", ...figure(row, "preemptions", amount)],
    ["Instance-hours lost to them", ...figure(row, "lost_instance_hours", amount)],
    ["Dollars lost to them", ...figure(row, "lost_dollars", amount)],
    ["Dollars for all capacity", ...figure(row, "capacity_dollars", amount)],
  ].map((cells) => [row.queue, ...cells]));
  const titles = ["Queue", "Figure", "Recorded", "Before", "After"];
  const scroll = (label, inner) => el("section", {}, el("h2", {}, label), el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": label }, inner));
  const isKnown = (cells) => cells.slice(2).some((cell) => cell !== "–");
  return [
    el("p", {}, `${count(jobs, "job")} from ${utc(Date.parse(from))} to ${utc(Date.parse(to))}. `, changes.length ? `Changed: ${changes.join(", ")}.` : "Nothing is changed: this is how close the replay is to what happened."),
    ...notes.map((note) => el("p", { class: "empty" }, note)),
    scroll("Waits by share, as recorded, replayed and replayed with the changes", table("Waits by share", waits, shares)),
    scroll("Use by queue, as recorded, replayed and replayed with the changes", table("Use by queue", titles.map((title, index) => ({ title, number: index > 1, cell: (row) => row[index] })), uses.filter(isKnown))),
  ];
}

window.addEventListener("popstate", () => reload());
live({ load, draw });
