// Each question that a page is there to answer: opens it as a message or a person would, and looks for the answer.
// node questions.mjs BASE [FOLDER FOR PICTURES]

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DESKTOP, everyPage, PHONE, test } from "./lib.mjs";

const [base, folder] = process.argv.slice(2);

/** Page, question, and what its answer holds. */
const QUESTIONS = [
  ["overview", "is it bad, and where", ["2 alerts firing on research", "ShareWaitsTooLong", "4h 10m"]],
  ["overview", "where did my GPUs go", ["256 GPUs", "Running, busy", "12 held back by quota", "/h idle"]],
  ["overview", "who waits, and why", ["language", "Share at its limit"]],
  ["alerts", "what fires, the worst first", ["ShareWaitsTooLong", "About to fire", "GpusIdle", "Ended"]],
  ["alert", "what of this message", ["language on research waits 3h 45m", "Likely reason", "oncall", "503 Service Unavailable", "What it means", "above 30m for 10m; ends at 20m", "queue.wait.oldest from 6h before", "fires"]],
  ["ended", "does it still fire", ["Ended", "the condition no longer holds"]],
  ["gone", "what was that", ["it ended more than 30 days ago, or was a test notification"]],
  ["mine", "where are my jobs", ["language-pretrain-0", "runnable", "ada"]],
  ["waiting", "when does it start, and why not now", ["When it starts", "Share at its limit", "Place 2 in its share", "sweep-large", "nine of ten within", "95 % within"]],
  ["running", "how is it going", ["algo-3", "4 %", "preempted", "Retries left"]],
  ["failed", "why did it fail, and who can fix that", ["The job's own code", "The owner", "CUDA out of memory", "Its logs in CloudWatch"]],
  ["unknown", "where is it", ["forgotten 7 days after their end", "what is watched"]],
  ["queue", "how was this queue", ["Oldest wait by share", "GPUs by part", "Waiting jobs by reason", "Preemptions per step", "alerts fired in this time"]],
  ["share", "how was my share", ["Kaplan–Meier", "Quota and use, ml.p5.48xlarge", "95 % of jobs start within"]],
  ["health", "can I trust these figures", ["rate exceeded (throttled)", "ShareWaitsTooLong", "2 notifications wait", "eu-west-1", "shares"]],
  ["whatIf", "what would four more instances have done", ["Changed: queue.research.capacity=+4", "p95 after", "Utilisation", "May be off by"]],
  ["runbook", "what do I do", ["What it means"]],
];

/** What is on the first screen of a phone, without scrolling. */
const FIRST_SCREEN = { overview: ["2 alerts firing on research", "ShareWaitsTooLong"], alert: ["Firing", "ShareWaitsTooLong", "waits 3h 45m"], waiting: ["Runnable", "language-pretrain"] };

/** Pictures of the documents: name, page, device, dark or not, and whether all of it is shown. */
const PICTURES = [
  ["overview", "overview", DESKTOP, false, true], ["../page", "overview", DESKTOP, false, true], ["overview-phone", "overview", PHONE, true, false], ["alert", "alert", DESKTOP, false, true], ["alert-phone", "alert", PHONE, false, false],
  ["jobs", "jobs", DESKTOP, false, false], ["job", "waiting", DESKTOP, false, true], ["job-phone", "running", PHONE, true, false], ["queue", "queue", DESKTOP, true, true], ["share", "share", DESKTOP, false, true], ["health", "health", DESKTOP, false, false],
];

const looks = [["desktop", DESKTOP, false], ["desktop, dark", DESKTOP, true], ["phone", PHONE, false], ["phone, dark", PHONE, true]];

await test(async (browser, check) => {
  const paths = await everyPage(base);
  for (const [look, device, dark] of looks) {
    for (const [name, path] of Object.entries(paths)) {
      const page = await browser.open({ ...device, dark });
      await page.go(base + path);
      await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", `the charts of ${name}`);
      const text = await page.evaluate("document.body.innerText");
      for (const [, question, answers] of QUESTIONS.filter(([of]) => of === name)) {
        for (const answer of answers) check(text.includes(answer), `${look}, ${path}, "${question}": ${answer} is missing in\n${text}`);
      }
      for (const answer of device === PHONE ? FIRST_SCREEN[name] ?? [] : []) {
        const where = await page.evaluate(`(() => {
          const all = [...document.querySelectorAll("main *")].filter((node) => !node.children.length || node.matches("p, h1")).filter((node) => node.textContent.includes(${JSON.stringify(answer)}) && node.getClientRects().length);
          return Math.min(...all.map((node) => node.getBoundingClientRect().bottom)); })()`);
        check(where < device.height, `${look}, ${path}: ${answer} is not on the first screen but at ${where}`);
      }
      const wide = await page.evaluate("document.documentElement.scrollWidth");
      check(wide <= device.width, `${look}, ${path}: ${wide} wide`);
      check(page.complaints.length === 0, `${look}, ${path}: the browser complains: ${page.complaints.join("; ")}`);
      const elsewhere = page.requests.filter((url) => !url.startsWith(base) && !url.startsWith("data:"));
      check(elsewhere.length === 0, `${look}, ${path} asks elsewhere: ${elsewhere}`);
      await page.close();
    }
  }
  await byHand(browser, paths, check);
  if (folder) await pictures(browser, paths);
});

/** What takes a hand: typing, choosing, dragging, keys. */
async function byHand(browser, paths, check) {
  const page = await browser.open(DESKTOP);
  await page.go(`${base}/jobs`);
  await page.evaluate("(() => { const words = document.querySelector('[name=words]'); words.value = 'rank'; words.form.requestSubmit(); })()");
  await page.until("location.pathname.endsWith('/jobs/job-failed')", "the job that a name means");
  await page.go(`${base}/jobs`);
  await page.evaluate("(() => { const state = document.querySelector('[name=state]'); state.value = 'FAILED'; state.dispatchEvent(new Event('change')); })()");
  await page.until("location.search.includes('state=FAILED') && document.querySelectorAll('#found tbody tr').length === 1", "the jobs in a state, with it in the address");
  await page.evaluate("history.back()");
  await page.until("document.querySelectorAll('#found tbody tr').length === 14", "all jobs again");

  await page.go(base + paths.queue);
  await page.until("document.querySelector('.canvas .u-over')", "a chart");
  await page.evaluate("document.querySelector('.canvas').scrollIntoView({ block: 'center' })");
  const { x, y, width, height } = await page.evaluate("(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('.u-over').getBoundingClientRect())");
  const mouse = (type, at, buttons) => page.call("Input.dispatchMouseEvent", { type, x: x + width * at, y: y + height / 2, button: buttons || type === "mouseReleased" ? "left" : "none", buttons, clickCount: type === "mouseMoved" ? 0 : 1 });
  await mouse("mouseMoved", 0.5, 0);
  await page.until("document.querySelector('.chart-legend .when').textContent.includes('UTC')", "values where somebody points");
  await mouse("mousePressed", 0.3, 1);
  await mouse("mouseMoved", 0.5, 1);
  await mouse("mouseMoved", 0.6, 1);
  await mouse("mouseReleased", 0.6, 0);
  await page.until("location.search.includes('from=') && location.search.includes('to=')", "a zoomed range in the address");
  await page.until("document.querySelector('.zoomed')", "a way out of it");
  await page.evaluate("[...document.querySelectorAll('.picker button')].find((button) => button.textContent === '24h').click()");
  await page.until("location.search.includes('range=24h') && !document.querySelector('.zoomed')", "another range");

  // A silence takes a token that may operate.
  await page.go(base + paths.alert);
  const silence = (token) => page.evaluate(`(() => {
    const form = document.querySelector("#silence form");
    form.closest("details").open = true;
    form.elements.comment.value = "known";
    if (form.elements.token) form.elements.token.value = ${JSON.stringify(token)};
    form.requestSubmit(); })()`);
  await silence("a-token-of-nobody-0001");
  await page.until("document.querySelector('#silence .form-message').textContent.includes('token')", "why a wrong token does not do");
  check(await page.evaluate("sessionStorage.getItem('trainspotter.token') === null"), "a wrong token is kept");
  await silence("operate-token-of-ann-1");
  await page.until("document.querySelector('#silence .form-message').textContent === 'Done.'", "a silence");

  // A proxy whose login has run out leads questions elsewhere: the page loads itself anew, once, so that the proxy can ask.
  const behind = await browser.open(DESKTOP);
  let [open, loads] = [true, 0];
  await behind.go(`${base}/alerts`);
  await behind.instead("*/api/v1/*", () => (open ? null : { status: 302, headers: [{ name: "location", value: "https://login.example.com/" }] }));
  await behind.evaluate("globalThis.before = true");
  open = false;
  await behind.until("globalThis.before === undefined", "the page anew");
  loads = behind.requests.filter((url) => url === `${base}/alerts`).length;
  await behind.until("document.getElementById('banner')?.textContent.includes('asks for a login')", "why it cannot go on");
  check(behind.requests.filter((url) => url === `${base}/alerts`).length === loads, "the page loads itself again and again");
  await behind.close();

  // By keyboard: the first stop leads past the navigation.
  await page.go(`${base}/`);
  await page.call("Input.dispatchKeyEvent", { type: "keyDown", key: "Tab", code: "Tab", windowsVirtualKeyCode: 9 });
  check(await page.evaluate("document.activeElement.className") === "skip", "the first stop of the keyboard is not the link to the content");
  await page.call("Input.dispatchKeyEvent", { type: "keyDown", key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" });
  await page.until("document.activeElement.id === 'main'", "the content, by keyboard");
  check(page.complaints.length === 0, `the browser complains: ${page.complaints.join("; ")}`);
  await page.close();
}

async function pictures(browser, paths) {
  mkdirSync(folder, { recursive: true });
  for (const [name, of, device, dark, full] of PICTURES) {
    const page = await browser.open({ ...device, dark });
    await page.go(base + paths[of]);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", "charts");
    writeFileSync(join(folder, `${name}.png`), await page.picture(full));
    await page.close();
  }
}
