// A real browser for tests of the pages: Chromium by its own protocol over two pipes, so that nothing has to be installed for it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync", "--disable-background-networking",
  "--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "--remote-debugging-pipe"];
/** Of pictures, of 100: letters stay sharp. */
const QUALITY = 80;
/** The longest that a page may take until it shows what is waited for, in milliseconds. */
const PATIENCE = 240000;

/** Starts Chromium. */
export async function start() {
  const profile = mkdtempSync(join(tmpdir(), "pages-"));
  const chromium = spawn("chromium", [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const [, , , input, output] = chromium.stdio;
  const ended = new Promise((resolve) => chromium.on("exit", resolve));
  const waiting = new Map();
  const listeners = [];
  let next = 0;
  let rest = "";
  output.setEncoding("utf8");
  output.on("data", (text) => {
    const parts = (rest + text).split("\0");
    rest = parts.pop();
    for (const message of parts.map((part) => JSON.parse(part))) {
      if (message.id === undefined) listeners.forEach((listen) => listen(message));
      else {
        const { resolve, reject, method } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(new Error(`${method}: ${message.error.message}`));
        else resolve(message.result);
      }
    }
  });
  const send = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    next += 1;
    waiting.set(next, { resolve, reject, method });
    input.write(`${JSON.stringify({ id: next, method, params, sessionId })}\0`);
  });
  return {
    open: (look) => openPage(send, listeners, look),
    async close() {
      await send("Browser.close").catch(() => {});
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A page as wide and high as a device's, `dark` or not. Keeps what the browser complained of and what it asked for. */
async function openPage(send, listeners, { width = 1280, height = 900, dark = false, scale = 1, mobile = false } = {}) {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const complaints = [];
  const requests = [];
  let bytes = 0;
  listeners.push(({ method, params, sessionId: of }) => {
    if (of !== sessionId) return;
    if (method === "Runtime.exceptionThrown") complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && ["error", "assert"].includes(params.type)) complaints.push(params.args.map(({ value, description }) => value ?? description).join(" "));
    if (method === "Log.entryAdded" && params.entry.level === "error" && params.entry.source !== "network") complaints.push(params.entry.text);
    if (method === "Network.requestWillBeSent") requests.push(params.request.url);
    if (method === "Network.loadingFinished") bytes += params.encodedDataLength;
  });
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await call(`${domain}.enable`);
  await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: scale, mobile });
  await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }, { name: "prefers-reduced-motion", value: "reduce" }] });
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const until = async (expression, what = expression) => {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      if (await evaluate(expression).catch(() => false)) return;
      if (Date.now() > deadline) throw new Error(`${what} did not come; the page shows: ${await evaluate("document.body.innerText").catch(String)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  return {
    complaints, requests, evaluate, until, call,
    /** Changes the body of each answer to a request that matches: `change(text, url)`. */
    async intercept(pattern, change) {
      listeners.push(async ({ method, params, sessionId: of }) => {
        if (of !== sessionId || method !== "Fetch.requestPaused") return;
        const { requestId, responseStatusCode: status = 200, responseHeaders = [] } = params;
        const { body, base64Encoded } = await call("Fetch.getResponseBody", { requestId }).catch(() => ({ body: "" }));
        const text = base64Encoded ? Buffer.from(body, "base64").toString("utf8") : body;
        const kept = responseHeaders.filter(({ name }) => !/^(content-length|content-encoding|etag)$/i.test(name));
        const changed = text ? Buffer.from(change(text, params.request.url)).toString("base64") : "";
        await call("Fetch.fulfillRequest", { requestId, responseCode: status, responseHeaders: kept, body: changed });
      });
      await call("Fetch.enable", { patterns: [{ urlPattern: pattern, requestStage: "Response" }] });
    },
    bytes: () => bytes,
    /** Answers requests that match itself, as long as `answer` gives a status and headers. */
    async instead(pattern, answer) {
      listeners.push(async ({ method, params, sessionId: of }) => {
        if (of !== sessionId || method !== "Fetch.requestPaused") return;
        const given = answer();
        if (given) await call("Fetch.fulfillRequest", { requestId: params.requestId, responseCode: given.status, responseHeaders: given.headers });
        else await call("Fetch.continueRequest", { requestId: params.requestId });
      });
      await call("Fetch.enable", { patterns: [{ urlPattern: pattern, requestStage: "Request" }] });
    },
    async go(url) {
      await call("Page.navigate", { url });
      await until("document.readyState === 'complete' && document.body.dataset.loaded !== 'false' && document.body.dataset.loaded !== undefined", `the content of ${url}`);
    },
    text: () => evaluate("document.getElementById('main').innerText"),
    /** A picture of what is shown, or of all of it: small, unless it is to be a PNG. */
    async picture(full = false, format = "webp") {
      if (full) {
        const size = await evaluate("document.documentElement.scrollHeight");
        await call("Emulation.setDeviceMetricsOverride", { width, height: Math.max(height, size), deviceScaleFactor: scale, mobile });
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
      const { data } = await call("Page.captureScreenshot", format === "webp" ? { format, quality: QUALITY } : { format });
      if (full) await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: scale, mobile });
      return Buffer.from(data, "base64");
    },
    close: () => send("Target.closeTarget", { targetId }),
  };
}
