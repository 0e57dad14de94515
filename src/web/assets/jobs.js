// Jobs: find mine. What narrows the list is in the address, so that a link keeps it.

import { address, ApiError, ask, withParameters } from "./api.js";
import { count, el, jobPath } from "./format.js";
import { fill, layOut, live, place, reload } from "./live.js";
import { jobRows } from "./jobtable.js";
import { reasonWords, REASON_CODES, STATES } from "./labels.js";

const LIMIT = 50;
const SORTS = [["newest", "newest first"], ["created", "oldest first"], ["waiting", "waiting longest"]];
const FILTERS = ["name", "owner", "queue", "share", "account", "region", "state", "reason", "type", "id"];

function given() {
  const parameters = new URLSearchParams(location.search);
  const read = (key) => parameters.get(key);
  return { ...Object.fromEntries(FILTERS.map((key) => [key, read(key)])), sort: read("sort") ?? "newest", after: read("after") };
}

/** An empty share means jobs without one, so it is kept in the address; an empty field of the form asks for nothing. */
function asked({ sort, ...filters }) {
  return withParameters("api/v1/jobs", { ...filters, sort, limit: LIMIT, share: filters.share === "" ? null : filters.share });
}

async function load() {
  const [queues, shares] = await Promise.all([ask("api/v1/queues"), ask("api/v1/shares")]);
  try {
    return { queues, shares, page: await ask(asked(given())) };
  } catch (reason) {
    if (reason instanceof ApiError && reason.status === 400) return { queues, shares, wrong: reason.message };
    throw reason;
  }
}

function draw({ queues, shares, page, wrong }) {
  layOut(el("h1", {}, "Jobs"), finder(), place("filters"), place("found"));
  const now = given();
  fill("filters", [queues.map(({ queue, account, region }) => [queue, account, region]), shares.map(({ queue, share }) => [queue, share]), now], () => foldable(form(queues, shares, now), now));
  if (wrong) return fill("found", [wrong], () => el("p", { class: "banner" }, wrong));
  return fill("found", [page, now], () => [
    el("div", { class: "panel scroll tall", tabindex: "0", role: "region", "aria-label": "Jobs found" }, jobRows(page.jobs, none(page, now))),
    paging(page, now),
  ]);
}

function none(page, now) {
  if (page.next) return "No match among the 10,000 jobs scanned for this page; the next page continues.";
  const isNarrowed = FILTERS.some((key) => now[key]);
  return isNarrowed ? "No job matches. Ended jobs are deleted after 7 days." : "No job is known.";
}

function paging({ jobs, next, undescribed }, now) {
  const first = el("button", { type: "button" }, "First page");
  first.hidden = !now.after;
  first.addEventListener("click", () => go({ ...now, after: null }));
  const more = el("button", { type: "button" }, "Next page");
  more.hidden = !next;
  more.addEventListener("click", () => go({ ...now, after: next }));
  return el("p", { class: "paging" }, el("span", { class: "faint" }, count(jobs.length, "job"), next ? ", and more follow" : "",
    undescribed ? `. ${count(undescribed, "job")} more ended and will be listed once AWS has described what happened` : ""), first, more);
}

/** By an id, by how an id or a name begins, or by an owner: one job opens, several are listed. */
function finder() {
  const words = el("input", { type: "search", name: "words", "aria-label": "Find a job by id, name or owner", placeholder: "id, name or owner", autocomplete: "off", spellcheck: "false" });
  const message = el("p", { role: "status", class: "form-message" });
  const found = el("form", { class: "form", role: "search" }, words, el("button", { type: "submit" }, "Find"), message);
  found.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = words.value.trim();
    if (!text) return;
    try {
      const job = await ask(`api/v1/jobs/${encodeURIComponent(text)}`);
      location.assign(address(jobPath(job.id)));
    } catch (reason) {
      if (reason instanceof ApiError && reason.code === "ambiguous") return go(narrowed(text, reason.jobs));
      message.textContent = reason instanceof ApiError && reason.status === 404 ? "No job has this id, name or owner. Ended jobs are deleted after 7 days." : String(reason.message ?? reason);
    }
  });
  return found;
}

/** By which of its parts a text means several jobs. */
function narrowed(text, jobs) {
  const all = (part) => jobs.every((job) => part(job)?.startsWith(text));
  const nothing = Object.fromEntries([...FILTERS, "after"].map((key) => [key, null]));
  if (jobs.every(({ owner }) => owner === text)) return { ...nothing, owner: text, sort: "newest" };
  return all(({ id }) => id) ? { ...nothing, id: text, sort: "newest" } : { ...nothing, name: text, sort: "newest" };
}

function form(queues, shares, now) {
  const text = (name, label, hint) => el("label", {}, label, el("input", { name, value: now[name] ?? "", placeholder: hint, autocomplete: "off", spellcheck: "false" }));
  const choice = (name, label, options) => {
    const select = el("select", { name }, ...options.map(([value, words]) => el("option", { value }, words)));
    const value = now[name] ?? "";
    if (value && !options.some(([known]) => known === value)) select.append(el("option", { value }, value));
    select.value = value;
    return el("label", {}, label, select);
  };
  const of = now.queue ? shares.filter(({ queue }) => queue === now.queue) : shares;
  /** Accounts and regions are chosen where there is more than one, or where the address names one. */
  const targetChoice = (name, label) => {
    const known = [...new Set(queues.map((row) => row[name]).filter(Boolean))].sort();
    return known.length > 1 || now[name] ? [choice(name, label, [["", "all"], ...known.map((value) => [value, value])])] : [];
  };
  const names = [...new Set(of.map(({ share }) => share).filter(Boolean))].sort();
  const made = el("form", { class: "filters" },
    text("name", "Name begins", "pretrain-"), text("owner", "Owner", "ann"),
    choice("queue", "Queue", [["", "all"], ...[...new Set(queues.map(({ queue }) => queue))].map((queue) => [queue, queue])]),
    choice("share", "Share", [["", "all"], ...names.map((share) => [share, share])]),
    ...targetChoice("account", "Account"), ...targetChoice("region", "Region"),
    choice("state", "State", [["", "all"], ...STATES.map((state) => [state.toUpperCase(), state])]),
    choice("reason", "Waits because", [["", "any reason"], ...REASON_CODES.map((code) => [code, reasonWords(code)])]),
    text("type", "Instance type", "ml.p5.48xlarge"), text("id", "Id begins", "0f1e2d3c"),
    choice("sort", "Order", SORTS),
    el("div", { class: "actions" }, el("button", { type: "submit" }, "Show"), clear()));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(made));
    go({ ...Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value.trim() || null])), after: null });
  });
  for (const select of made.querySelectorAll("select")) select.addEventListener("change", () => made.requestSubmit());
  return made;
}

function valueWords(key, value) {
  if (key === "reason") return reasonWords(value);
  return key === "state" ? value.toLowerCase() : value || "none";
}

/** On a phone the filters are folded, so that the first screen shows jobs. */
function foldable(filters, now) {
  const words = FILTERS.filter((key) => now[key] !== null).map((key) => `${key} ${valueWords(key, now[key])}`);
  const fold = el("details", {}, el("summary", {}, words.length ? `Filters: ${words.join(", ")}` : "Filters"), filters);
  fold.open = !matchMedia("(max-width: 760px)").matches;
  return fold;
}

function clear() {
  const button = el("button", { type: "button" }, "Clear");
  button.addEventListener("click", () => go({ sort: "newest" }));
  return button;
}

function go(parameters) {
  const { sort, ...rest } = parameters;
  const path = withParameters("", { ...rest, sort: sort === "newest" ? null : sort });
  history.pushState(null, "", `${location.pathname}${path}`);
  reload();
}

addEventListener("popstate", () => reload());
live({ load, draw });
