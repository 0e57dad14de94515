// Numbers, times and elements, as every part of the pages writes them.

import { address, withParameters } from "./api.js";

/** Characters that turn the direction of all text that follows, beyond the name that holds them. */
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Makes an element. Text always goes in as text, so that no name from outside can become markup. */
export function el(tag, properties = {}, ...children) {
  const { class: className, ...rest } = properties;
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(rest)) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) =>
    child instanceof Node ? child : String(child).replace(TURNING, "\ufffd")));
  return node;
}

/**
 * A table in which columns are `{title, cell, number?, wide?}` and `cell(row)` is text or an element. On a phone a cell of a wide column has a line
 * of its own.
 */
export function table(caption, columns, rows) {
  const head = columns.map(({ title, number }) => el("th", { scope: "col", role: "columnheader", class: number ? "number" : "" }, title));
  const body = rows.map((row) => el("tr", { role: "row" }, ...columns.map(({ title, cell, number, wide }, index) => {
    const content = cell(row) ?? "–";
    if (index === 0) return el("th", { scope: "row", role: "rowheader" }, content);
    const classes = [number ? "number" : "", wide ? "wide" : "", content === "–" || content === "" ? "nothing" : ""].filter(Boolean).join(" ");
    return el("td", { class: classes, role: "cell", "data-title": title }, content);
  })));
  // Roles are said, since a phone shows rows as cards and would lose them.
  return el("table", { class: "rows", role: "table" },
    el("caption", { class: "unseen" }, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)),
    el("tbody", { role: "rowgroup" }, ...body));
}

/** `1h 40m`, `2d 3h`, `45s`: two units at most. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => s >= size);
  if (first === -1) return "0s";
  const [name, size] = units[first];
  const next = units[first + 1];
  const rest = next ? Math.floor((s % size) / next[1]) : 0;
  return `${Math.floor(s / size)}${name}${rest ? ` ${rest}${next[0]}` : ""}`;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** An amount that is nearly always whole. */
export function amount(value) {
  if (value === null || value === undefined) return "–";
  return (Number.isInteger(value) ? whole : fine).format(value);
}

/** `1 job`, `2 jobs`. */
export function count(value, one, more = `${one}s`) {
  return `${amount(value)} ${value === 1 ? one : more}`;
}

/** A measured value of any size, in the API's unit. */
export function measure(value, unit) {
  if (value === null || value === undefined) return "no data";
  switch (unit) {
    case "seconds": return duration(value);
    case "ratio": return `${precise.format(100 * value)} %`;
    case "gpus": return `${precise.format(value)} ${value === 1 ? "GPU" : "GPUs"}`;
    case "instances": return `${precise.format(value)} ${value === 1 ? "instance" : "instances"}`;
    case "gpu_seconds": return `${precise.format(value / 3600)} GPU h`;
    case "bytes": return `${precise.format(value)} B`;
    case "dollars": return `$${precise.format(value)}`;
    default: return precise.format(value);
  }
}

export function percent(part, of) {
  return of > 0 ? `${whole.format((100 * part) / of)} %` : "–";
}

/** `2026-03-01 12:00:00`, in UTC as everything else of the service. */
export function utc(millis) {
  return new Date(millis).toISOString().slice(0, 19).replace("T", " ");
}

/** A sentence of the service with its times as these pages write them. */
export function readable(text) {
  return text.replace(/(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z/g, "$1 $2 UTC");
}

/** How long before `now` a time is, and the time itself on request; both in the service's words. */
export function moment(at, now) {
  const millis = Date.parse(at);
  return el("time", { datetime: at, title: `${utc(millis)} UTC` }, `${utc(millis).slice(0, 16)} UTC`,
    el("span", { class: "faint" }, ` (${millis > now ? `in ${duration((millis - now) / 1000)}` : `${duration((now - millis) / 1000)} ago`})`));
}

/** A link to a page of the service. */
export function link(path, ...children) {
  return el("a", { href: address(path) }, ...children);
}

/** A link with parameters. */
export function withParametersLink(path, parameters, ...children) {
  return link(withParameters(path, parameters), ...children);
}

let several = false;

/** Accounts and regions are shown where there is more than one. */
export function tellApart(targets) {
  several = targets > 1;
}

/** The account and region of a row, as parameters: nothing where there is one. */
export const accountAndRegion = (row) => (several && row?.region ? { account: row.account, region: row.region } : {});
/** The same in words; `null` where there is one. */
export const accountAndRegionText = (row) => (several && row?.region ? `${row.account ?? "account not known"} ${row.region}` : null);
/** Whether two rows are of one queue. */
export const sameQueue = (one, other) => one.queue === other.queue && one.account === other.account && one.region === other.region;

/** The time that this page's charts show, if its address says one: pages of queues and shares hand it on to each other. */
function shownTime() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(["range", "from", "to", "fold"].map((name) => [name, given.get(name)]));
}

export const queuePath = (queue, row, time = shownTime()) => withParameters(`queues/${encodeURIComponent(queue)}`, { ...accountAndRegion(row), ...time });
export const sharePath = (queue, share, row, time = shownTime()) =>
  withParameters(`queues/${encodeURIComponent(queue)}/shares/${encodeURIComponent(share)}`, { ...accountAndRegion(row), ...time });
export const jobPath = (id) => `jobs/${encodeURIComponent(id)}`;
export const alertPath = (id) => `alerts/${encodeURIComponent(id)}`;

/** `queue / share`, each a link; jobs without a share are said to have none. */
export function place(queue, share, row) {
  const where = accountAndRegionText(row);
  const rest = share ? [el("span", { class: "faint" }, " / "), link(sharePath(queue, share, row), share)] : [el("span", { class: "faint" }, ", no share")];
  return el("span", { class: "place" }, link(queuePath(queue, row), queue), ...rest, where ? el("span", { class: "faint" }, ` ${where}`) : null);
}

/** Names and values, one under the other; those without a value are left out. */
export function facts(pairs) {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, ...given.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** The labels of an alert that say what it is about. Account and region say nothing where there is one of each. */
export function shownLabels({ severity, alertname, account, region, ...labels }) {
  return Object.entries(several ? { account, region, ...labels } : labels).filter(([, value]) => value !== undefined);
}

/** How many pixels stand for one of the style sheet's: more on a screen that is read from afar. */
export function scale() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
}

/** A label of an alert in words. An empty value means that there is none. */
export function label(name, value) {
  const words = name.replaceAll("_", " ");
  return value === "" ? `no ${words}` : `${words} ${value}`;
}

export function empty(text) {
  return el("p", { class: "empty" }, text);
}
