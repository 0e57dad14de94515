// Alerts in a list, as several pages show them.

import { alertPath, amount, count, duration, el, empty, label, link, measure, readable, shownLabels, utc } from "./format.js";
import { endingWords } from "./labels.js";

/** Alerts of one list, at most. */
const MAX_SHOWN = 200;
/** Those that fire and are not folded away. */
const FIRST_ALERTS = 3;

/** A list of alerts, each a link to its page. */
export function alertList(alerts, now) {
  const rest = alerts.length - MAX_SHOWN;
  const more = rest > 0 ? el("li", { class: "empty" }, `${count(rest, "more alert")} are not shown; the API has all: `, link("api/v1/alerts", "api/v1/alerts")) : null;
  return el("ul", { class: "alerts" }, ...alerts.slice(0, MAX_SHOWN).map((alert) => row(alert, now)), more);
}

function row(alert, now) {
  const since = (at) => duration((now - Date.parse(at)) / 1000);
  const times = { firing: `for ${since(alert.fired_at ?? alert.active_at)}`, pending: `for ${since(alert.active_at)}`, resolved: `${since(alert.resolved_at)} ago` };
  const { severity } = alert.labels;
  const { summary, description } = alert.annotations;
  const ended = alert.ending ? endingWords(alert.ending) : null;
  return el("li", { class: `alert ${alert.state}` },
    el("div", { class: "state" }, el("strong", {}, alert.state), " ", el("span", { class: "faint" }, times[alert.state] ?? "")),
    el("div", { class: "what" },
      el("p", {}, link(alertPath(alert.id), el("strong", {}, alert.rule)), severity ? el("span", { class: `tag severity-${severity}` }, severity) : null,
        alert.silences?.length ? el("span", { class: "tag" }, "silenced") : null),
      ...(alert.silences ?? []).map(({ ends_at: until, author, comment }) => el("p", { class: "silence" }, `Silenced until ${utc(Date.parse(until))} UTC by ${author}: ${comment}`)),
      el("p", {}, readable(summary ?? description ?? "")),
      el("p", { class: "labels" }, ...shownLabels(alert.labels).map(([name, value]) => el("span", { class: "tag" }, label(name, value))))),
    el("div", { class: "value" }, el("strong", {}, measure(alert.value, alert.unit)),
      el("span", { class: "faint" }, ended ?? (alert.threshold === null ? "" : `threshold ${measure(alert.threshold, alert.unit)}`))));
}

/** A list that is folded away, with what is in it. */
export function folded(words, content) {
  return el("details", {}, el("summary", {}, words), content);
}

/** That nothing fires, unless nobody can tell: with what fails, unless the page says that above. */
export function noneFires({ problems }, isSaid = false) {
  if (problems.length === 0) return empty("No alert fires.");
  return empty(`No alert fires, but rules that depend on a failing source are not evaluated${isSaid ? "." : `: ${problems.join("; ")}`}`);
}

/** Alerts of a page that is about more: the worst first, and the rest folded away. */
export function alertPart(sorted, now, tick, isSaid = false) {
  const of = (state) => sorted.filter((alert) => alert.state === state);
  const [firing, pending, resolved] = [of("firing"), of("pending"), of("resolved")];
  const rest = firing.slice(FIRST_ALERTS);
  return [
    firing.length ? alertList(firing.slice(0, FIRST_ALERTS), now) : el("div", { class: "panel" }, noneFires(tick, isSaid)),
    rest.length ? folded(`${count(rest.length, "more alert")} firing`, alertList(rest, now)) : null,
    pending.length ? folded(`${amount(pending.length)} about to fire`, alertList(pending, now)) : null,
    resolved.length ? folded(`${amount(resolved.length)} ended recently`, alertList(resolved, now)) : null,
  ];
}
