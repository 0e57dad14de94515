// The time that charts show. It is in the address, so that a link keeps it: `?range=6h`, or `?from=…&to=…` after somebody dragged.

import { el, utc } from "./format.js";

const RANGES = [["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800], ["30d", 2592000]];
const USUAL = "6h";

/** What the address asks for: `{from, to, range, fold}`; `from` and `to` are seconds, for a service whose time is `now` milliseconds. */
export function wanted(now) {
  const given = new URLSearchParams(location.search);
  const fold = given.get("fold") === "mean" ? "mean" : "max";
  const [from, to] = [Date.parse(given.get("from")), Date.parse(given.get("to"))];
  if (Number.isFinite(from) && Number.isFinite(to) && from < to) return { from: from / 1000, to: to / 1000, range: null, fold };
  const [range, seconds] = RANGES.find(([name]) => name === given.get("range")) ?? RANGES.find(([name]) => name === USUAL);
  return { from: Math.floor(now / 1000) - seconds, to: Math.ceil(now / 1000), range, fold };
}

/** What the API is asked with. A range that ends now is asked for as such, so that its beginning moves along. */
export function asParameters({ from, to, range, fold }) {
  return range ? { from: `-${range}`, fold } : { from: iso(from), to: iso(to), fold };
}

/** The choice of range and of what is made of the values of a step. */
export function picker({ from, to, range, fold }, onChange) {
  const choose = (changes) => {
    go(changes);
    onChange();
  };
  const choice = (words, isChosen, changes) => {
    const button = el("button", { type: "button", "aria-pressed": String(isChosen) }, words);
    button.addEventListener("click", () => choose(changes));
    return button;
  };
  const group = (label, ...buttons) => el("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
  return el("div", { class: "picker" },
    group("Time shown", ...RANGES.map(([name]) => choice(name, range === name, { range: name, from: null, to: null }))),
    range === null ? el("span", { class: "zoomed" }, `${utc(from * 1000).slice(5, 16)} to ${utc(to * 1000).slice(5, 16)} UTC `, choice("Zoom out", false, { range: USUAL, from: null, to: null })) : null,
    group("Of the values of a step", choice("peak", fold === "max", { fold: null }), choice("mean", fold === "mean", { fold: "mean" })));
}

/** Shows what somebody has dragged over. */
export function zoom(from, to, onChange) {
  go({ range: null, from: iso(from), to: iso(to) });
  onChange();
}

function go(changes) {
  const given = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) given.delete(key);
    else given.set(key, value);
  }
  const query = given.toString();
  history.pushState(null, "", `${location.pathname}${query ? `?${query}` : ""}`);
}

function iso(seconds) {
  return new Date(Math.round(seconds) * 1000).toISOString().replace(".000Z", "Z");
}
