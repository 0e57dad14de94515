// Asks the service. What it has answered before is not sent again: each answer has a tag, and one that has not changed comes as 304.
// All addresses are relative to this file, since a proxy may serve the pages below a path of its own.

import { authorization } from "./token.js";

const PATIENCE = 15000;
/** Answers that are remembered, at most: the latest. */
const MAX_REMEMBERED = 64;

const ROOT = new URL("../", import.meta.url);

/** What was answered, by path: `{tag, data}`. */
const remembered = new Map();

/** What went wrong with a request, in the words of the service. */
export class ApiError extends Error {
  constructor(status, code, message, jobs = []) {
    super(message);
    Object.assign(this, { status, code, jobs });
  }
}

/** The address of a path of the service. */
export function address(path) {
  return new URL(path, ROOT).href;
}

/** The segments of this page's path below the service's root, decoded. */
export function here() {
  const below = location.pathname.slice(ROOT.pathname.length);
  return below.split("/").map((segment) => decodeURIComponent(segment));
}

/** A path of the service with parameters; those that are empty or missing are left out. */
export function withParameters(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return query ? `${path}?${query}` : path;
}

/** The answer to a GET. */
export async function ask(path) {
  const before = remembered.get(path);
  const response = await send(path, { headers: before ? { "If-None-Match": before.tag } : {} });
  if (response.status === 304) return before.data;
  const data = await read(response);
  const tag = response.headers.get("ETag");
  if (tag) remember(path, { tag, data });
  return data;
}

/** The answer to a GET, or `null` if there is none: for what a page can do without. */
export async function askMaybe(path) {
  try {
    return await ask(path);
  } catch (reason) {
    if (reason instanceof ApiError && reason.status !== 400) return null;
    throw reason;
  }
}

/** The answer to a POST. */
export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return read(await send(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

/** A page of the service as a document. */
export async function askPage(path) {
  const response = await send(path, { headers: { Accept: "text/html" } });
  if (!response.ok) return null;
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

async function send(path, { headers = {}, ...options }) {
  let response;
  try {
    response = await fetch(address(path), {
      headers: { ...authorization(), ...headers }, signal: AbortSignal.timeout(PATIENCE), cache: "no-store", redirect: "manual", ...options,
    });
  } catch (reason) {
    throw new ApiError(0, "unreachable", `The service does not respond (${reason.name}).`);
  }
  // The service leads nowhere else: a proxy before it wants a login, which only a page can do.
  if (response.type === "opaqueredirect") throw new ApiError(401, "login", "A proxy requires a login: reload the page.");
  return response;
}

async function read(response) {
  const data = await response.json().catch(() => null);
  if (!response.ok) {
    const { code = "error", message = `The service responded with ${response.status}.` } = data?.error ?? {};
    throw new ApiError(response.status, code, message, data?.jobs ?? []);
  }
  return data;
}

function remember(path, answer) {
  remembered.delete(path);
  remembered.set(path, answer);
  if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value);
}
