// Where GPUs are: a bar of a queue's capacity with its parts, and why what is unallocated is.

import { amount, count, el, empty, percent } from "./format.js";
import { causeWords } from "./labels.js";

/** The parts in the order in which they are stacked, from well used to not used: name, words, colour. */
export const PARTS = [
  ["running_busy", "Running, busy", "--busy"],
  ["running_unknown", "Running, unknown", "--unknown"],
  ["running_idle", "Running, idle", "--idle"],
  ["starting", "Starting", "--starting"],
  ["scheduled", "Scheduled", "--scheduled"],
  ["other_queues", "Other queues", "--other"],
  ["unallocated", "Unallocated", "--unallocated"],
];

/** What does no work and is paid for. */
const WASTED = ["running_idle", "unallocated"];

/** A queue's capacity now. */
export function waterfall({ queue, capacity_gpus: capacity, parts, unallocated, dollars_per_hour: dollars }) {
  const shown = named(parts);
  const total = shown.reduce((sum, { gpus }) => sum + gpus, 0);
  if (total === 0) return empty(capacity === null ? "GPU capacity unknown." : "No GPUs.");
  const words = shown.map(({ label, gpus }) => `${label} ${amount(gpus)}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", "aria-label": `GPUs of ${queue}: ${words}` },
    ...shown.filter(({ gpus }) => gpus > 0).map(({ part, label, gpus }) => {
      const piece = el("span", { class: `piece part-${part}`, title: `${label}: ${amount(gpus)}` });
      piece.style.flexGrow = gpus;
      return piece;
    }));
  const price = (part) => (part in dollars ? `$${amount(Math.round(dollars[part]))}/h` : "");
  const legend = el("ul", { class: "legend" }, ...shown.map(({ part, label, gpus }) =>
    el("li", { class: gpus > 0 ? "" : "zero" },
      el("span", { class: `swatch part-${part}`, "aria-hidden": "true" }),
      el("span", { class: "name" }, label),
      el("span", { class: "number" }, amount(gpus)),
      el("span", { class: "number faint" }, percent(gpus, total)),
      el("span", { class: "number faint" }, price(part)))));
  const sum = el("p", { class: "sum" }, count(total, "GPU"), spent(dollars));
  if (capacity !== null && Math.abs(capacity - total) > 0.01) {
    sum.append(el("span", { class: "warn" }, ` but the capacity is ${amount(capacity)}`));
  }
  return el("div", { class: "gpus" }, sum, bar, legend, causes(unallocated, parts.unallocated, dollars.unallocated));
}

/** What all of it costs, and what of that does no work; nothing where prices are not configured. */
function spent(dollars) {
  const all = Object.values(dollars).reduce((a, b) => a + b, 0);
  if (all === 0) return null;
  const wasted = WASTED.reduce((total, part) => total + (dollars[part] ?? 0), 0);
  return el("span", { class: "faint" }, ` · $${amount(Math.round(all))}/h, of which $${amount(Math.round(wasted))}/h idle`);
}

/** Why GPUs are unallocated, the most first. */
function causes(unallocated, total, dollars) {
  const known = Object.entries(unallocated).filter(([, gpus]) => gpus > 0).sort(([, a], [, b]) => b - a);
  if (known.length === 0) return null;
  const price = (gpus) => (dollars && total ? ` ($${amount(Math.round((dollars * gpus) / total))}/h)` : "");
  return el("p", { class: "causes" }, el("span", { class: "faint" }, "Unallocated:"),
    ...known.map(([cause, gpus]) => el("span", {}, el("strong", {}, amount(gpus)), ` ${causeWords(cause)}${price(gpus)}`)));
}

/** Parts in stacking order; those these pages do not know come last. */
function named(parts) {
  const known = PARTS.filter(([part]) => part in parts).map(([part, label]) => ({ part, label, gpus: parts[part] }));
  const others = Object.keys(parts).filter((part) => !PARTS.some(([name]) => name === part));
  return [...known, ...others.map((part) => ({ part: "other", label: part.replaceAll("_", " "), gpus: parts[part] }))];
}
