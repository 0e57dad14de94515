// Silences of an alert, and a form to begin one. Acting takes a token that may operate; it stays in this tab.

import { ApiError, post } from "./api.js";
import { el, moment } from "./format.js";
import { authorization, forget, keep } from "./token.js";

const SPANS = [["1h", 3600], ["4h", 14400], ["12h", 43200], ["1d", 86400], ["3d", 259200], ["7d", 604800]];

/** What silences an alert now, with a way to end it, and the form for another. `done` is called when something has changed. */
export function silenceForm(alert, now, done) {
  const message = el("p", { class: "form-message", role: "status" });
  const token = el("input", { type: "password", name: "token", autocomplete: "off", spellcheck: "false" });
  const act = async (path, body) => {
    if (token.value.trim()) keep(token.value.trim());
    message.className = "form-message";
    message.textContent = "Sending …";
    try {
      await post(path, body);
      message.textContent = "Done.";
      await done();
    } catch (reason) {
      if (reason instanceof ApiError && reason.status === 401) forget();
      message.className = "form-message bad";
      message.textContent = refusal(reason);
    }
  };
  const known = (alert.silences ?? []).map((silence) => {
    const end = el("button", { type: "button" }, "End it now");
    end.addEventListener("click", () => act(`api/v1/silences/${silence.id}/end`, {}));
    return el("li", {}, el("p", {}, "Silenced until ", moment(silence.ends_at, now), ` by ${silence.author}: ${silence.comment} `), end);
  });
  const labels = Object.entries(alert.labels).filter(([name]) => name !== "severity");
  const chosen = labels.map(([name, value]) => {
    const box = el("input", { type: "checkbox", name });
    box.checked = true;
    return { box, matcher: exactly(name, value), row: el("label", { class: "check" }, box, ` ${name} = ${value || "(none)"}`) };
  });
  const span = el("select", { name: "span" }, ...SPANS.map(([name, seconds]) => el("option", { value: seconds }, name)));
  span.value = "14400";
  const comment = el("input", { name: "comment", required: "", maxlength: "1000", placeholder: "known, capacity comes on Monday" });
  const form = el("form", { class: "form" },
    el("fieldset", {}, el("legend", {}, "Alerts with these labels"), ...chosen.map(({ row }) => row)),
    el("label", {}, "For ", span), el("label", {}, "Why ", comment),
    "Authorization" in authorization() ? null : el("label", {}, "Token that may operate ", token),
    el("button", { type: "submit" }, "Silence"), message);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const matchers = chosen.filter(({ box }) => box.checked).map(({ matcher }) => matcher);
    act("api/v1/silences", { matchers, duration_seconds: Number(span.value), comment: comment.value });
  });
  return [
    known.length ? el("ul", { class: "plain panel advice" }, ...known) : el("p", { class: "faint lined" }, "It is not silenced."),
    el("details", { class: "panel inset" }, el("summary", {}, known.length ? "Silence it again" : "Silence it"), form),
  ];
}

/** Why nothing was done, for somebody who fills in a form. */
function refusal(reason) {
  if (!(reason instanceof ApiError)) return String(reason);
  if (reason.code === "token_needed") return "Nothing was changed: this takes a token that may operate, one of `api.tokens` in the service's configuration. Enter it above.";
  return `Nothing was changed: ${reason.message}`;
}

/** A matcher of this value and no other: one that a glob would take for more is written as a regular expression. */
function exactly(name, value) {
  const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;
  return /[*?[\]]/.test(value) ? `${name}=~${quoted(value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))}` : `${name}=${quoted(value)}`;
}
