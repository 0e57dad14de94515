// Each question that a page is there to answer: opens it as a message or a person would, and looks for the answer.
// node questions.mjs BASE [FOLDER FOR PICTURES]

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DESKTOP, everyPage, PHONE, test, WALL } from "./lib.mjs";

const [base, folder] = process.argv.slice(2);

/** Page, question, and what its answer holds. */
const QUESTIONS = [
  ["overview", "is it bad, and where", ["2 alerts firing on research", "ShareWaitsTooLong", "4h 10m"]],
  ["overview", "where did my GPUs go", ["256 GPUs", "Running, busy", "12 held back by quota", "/h idle"]],
  ["overview", "who waits, and why", ["language", "Share at its limit"]],
  ["alerts", "what fires, the worst first", ["ShareWaitsTooLong", "About to fire", "GpusIdle", "Ended"]],
  ["alert", "what of this message", ["language on research waits 3h 45m", "Likely reason", "oncall", "503 Service Unavailable", "What it means", "above 30m for 10m; resolves at 20m", "queue.wait.oldest from 6h before", "fires"]],
  ["ended", "does it still fire", ["Ended", "the condition no longer holds"]],
  ["silenced", "who silenced it, until when and why", ["Silenced until", "by ann: maintenance", "End it now", "Silence it again"]],
  ["gone", "what was that", ["it ended more than 30 days ago, or was a test notification"]],
  ["mine", "where are my jobs", ["language-pretrain-0", "runnable", "ada"]],
  ["waiting", "when does it start, and why not now", ["When it starts", "Share at its limit", "Place 2 in its share", "sweep-small", "nine of ten within", "95 % within", "What it waited for", "Lent capacity being reclaimed", "Its share while it waited", "Quota and use, ml.p5.48xlarge"]],
  ["running", "how is it going", ["algo-3", "4 %", "preempted", "Retries left"]],
  ["running", "what did each of its waits go for", ["Before attempt 1: waited 16m 40s", "All capacity in use", "Before attempt 2: waited 33m 20s", "AWS has no instances", "Its share while it waited"]],
  ["failed", "why did it fail, and who can fix that", ["The job's own code", "The owner", "CUDA out of memory", "Its logs in CloudWatch", "What it waited for", "Waited 10m", "All capacity in use"]],
  ["unknown", "where is it", ["deleted 7 days after they end", "monitored targets"]],
  ["queue", "how was this queue", ["Oldest wait by share", "GPUs by part", "Waiting jobs by reason", "Preemptions per step", "alerts fired in this time"]],
  ["share", "how was my share", ["Kaplan–Meier", "Quota and use, ml.p5.48xlarge", "95 % of jobs start within", "Oldest wait", "4h 10m"]],
  ["health", "can I trust these figures", ["rate exceeded (throttled)", "ShareWaitsTooLong", "2 notifications wait", "eu-west-1", "shares", "CloudWatch metrics (PutMetricData)", "Archive", "28.75"]],
  ["whatIf", "what would four more instances have done", ["Changed: queue.research.capacity=+4", "p95 after", "Utilisation", "May be off by"]],
  ["runbook", "what do I do", ["What it means"]],
];

/**
 * From a notification's link on to other pages, by the links that are there: where from, the words of the link and the part of the page it is in,
 * and what the page it leads to answers.
 */
const WALKS = [
  ["alert", "main", "research", "Oldest wait by share"], ["alert", "main", "language", "95 % of jobs start within"], ["alert", "#jobs", "language-pretrain-0", "What it waited for"],
  ["alert", "#runbook", "A job has waited long", "What it means"], ["alert", "header", "Overview", "Where the GPUs are"], ["alert", "header", "What if", "What can be changed"],
  ["alert", "header", "Health", "Receivers"], ["waiting", "#head", "ada", "language-pretrain-"], ["waiting", "#holders", "nightly", "Utilisation by host"], ["ended", "#head", "vision", "Quota and use"],
];

/** The smallest letters that are read from afar, in pixels, and how much of a wide screen is used at least. */
const READ_FROM_AFAR = 17;
const USED_OF_WIDTH = 0.9;

/** The most stops of the keyboard on one page until something is reached. */
const MAX_STOPS = 150;

/** What is on the first screen of a phone, without scrolling. */
const FIRST_SCREEN = { overview: ["2 alerts firing on research", "ShareWaitsTooLong"], alert: ["Firing", "ShareWaitsTooLong", "waits 3h 45m"], waiting: ["Runnable", "language-pretrain", "It waits because", "Likely to start in 3h (P50)"],
  failed: ["its own code failed"], mine: ["language-pretrain-0", "language-pretrain-2"] };

/** Pictures of the documents: name, page, device, dark or not, and whether all of it is shown. */
const PICTURES = [
  ["overview", "overview", DESKTOP, false, true], ["overview-phone", "overview", PHONE, true, false], ["alert", "alert", DESKTOP, false, true], ["alert-phone", "alert", PHONE, false, false],
  ["jobs", "jobs", DESKTOP, false, false], ["job", "waiting", DESKTOP, false, true], ["job-phone", "running", PHONE, true, false], ["queue", "queue", DESKTOP, true, true], ["share", "share", DESKTOP, false, true], ["health", "health", DESKTOP, false, false], ["overview-wall", "overview", { ...WALL, scale: 0.5 }, false, false],
];

/** The picture that the README shows, for which not every place that shows it knows WebP. */
const FRONT = "overview";

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
  await gapsAreEmpty(browser, paths, check);
  await fromMessages(browser, paths, check);
  await onTheWall(browser, paths, check);
  await byHand(browser, paths, check);
  if (folder) await pictures(browser, paths);
});

/** Where nothing was recorded, between 4.6 and 4.1 hours ago, a chart of the last 6 hours is empty; around it, it is filled. */
async function gapsAreEmpty(browser, paths, check) {
  const page = await browser.open(DESKTOP);
  await page.go(base + paths.queue);
  await page.until("document.querySelector('.canvas .u-over')", "a chart");
  const columns = await page.evaluate(`(() => {
    const figure = [...document.querySelectorAll(".chart")].find((one) => one.textContent.startsWith("GPUs by part"));
    const [canvas, over] = [figure.querySelector("canvas"), figure.querySelector(".u-over")];
    const [whole, plot] = [canvas.getBoundingClientRect(), over.getBoundingClientRect()];
    const scale = canvas.width / whole.width;
    const filled = (hoursAgo) => {
      const x = Math.round((plot.x - whole.x + plot.width * (1 - hoursAgo / 6)) * scale);
      const pixels = canvas.getContext("2d").getImageData(x, Math.round((plot.y - whole.y) * scale), 1, Math.round(plot.height * scale)).data;
      return [...pixels].filter((value, index) => index % 4 === 3 && value === 255).length / (plot.height * scale);
    };
    return { before: filled(5), within: filled(4.35), after: filled(3) };
  })()`);
  check(columns.before > 0.5 && columns.after > 0.5, `the chart is filled before and after the gap: ${JSON.stringify(columns)}`);
  check(columns.within < 0.1, `the chart is empty in the gap: ${JSON.stringify(columns)}`);
  await page.close();
}

/** Whoever comes by a notification's link finds the way on from there. */
async function fromMessages(browser, paths, check) {
  for (const [look, device, dark] of [looks[0], looks[3]]) {
    const page = await browser.open({ ...device, dark });
    for (const [from, part, words, answer] of WALKS) {
      await page.go(base + paths[from]);
      const found = `[...document.querySelectorAll(${JSON.stringify(`${part} a[href]`)})].find((link) => link.textContent.trim() === ${JSON.stringify(words)})`;
      await page.until(`${found} !== undefined`, `a link ${words} in ${part} of ${from}`);
      await page.evaluate(`globalThis.before = true; ${found}.click()`);
      await page.until(`globalThis.before === undefined && document.body.innerText.includes(${JSON.stringify(answer)})`, `${look}: ${answer} by way of ${from} and ${words}`);
      check(page.complaints.length === 0, `${look}, ${from}, ${words}: the browser complains: ${page.complaints.join("; ")}`);
    }
    await page.close();
  }
}

/** A screen on the wall is used, and can be read from afar. */
async function onTheWall(browser, paths, check) {
  const page = await browser.open(WALL);
  for (const name of ["overview", "alert", "alerts", "jobs", "waiting", "queue", "share", "health", "whatIf"]) {
    await page.go(base + paths[name]);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", `the charts of ${name}`);
    const { left, right, smallest, scroll } = await page.evaluate(`(() => {
      const shown = [...document.querySelectorAll("main *")].filter((node) => node.getClientRects().length && !node.closest(".unseen"));
      const boxes = shown.map((node) => node.getBoundingClientRect());
      const letters = shown.filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) && !node.closest("svg"));
      return { left: Math.min(...boxes.map((box) => box.left)), right: Math.max(...boxes.map((box) => box.right)), scroll: document.documentElement.scrollWidth,
        smallest: Math.min(...letters.map((node) => parseFloat(getComputedStyle(node).fontSize))) }; })()`);
    check(right - left >= USED_OF_WIDTH * WALL.width, `on a wall, ${name}: uses ${right - left} of ${WALL.width} pixels`);
    check(smallest >= READ_FROM_AFAR, `on a wall, ${name}: letters of ${smallest} pixels`);
    check(scroll <= WALL.width, `on a wall, ${name}: ${scroll} wide`);
  }
  await page.close();
}

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
  await page.go(`${base}/queues/research?range=7d&fold=mean`);
  await page.evaluate("[...document.querySelectorAll('#shares a')].find((link) => link.textContent === 'language').click()");
  await page.until("location.pathname.endsWith('/shares/language') && document.body.dataset.loaded === 'true'", "a share's page");
  check(await page.evaluate("location.search") === "?range=7d&fold=mean", "a link from a queue to its share does not keep the range");
  check(await page.evaluate("new URL(document.querySelector('h1 a').href).search") === "?range=7d&fold=mean", "the link back does not keep the range");
  await page.go(base + paths.ended);
  check(await page.evaluate("(({ searchParams: of }) => Date.parse(of.get('from')) < Date.parse(of.get('to')))(new URL(document.querySelector('#figure .under a').href))"), "no link leads from an alert to its share in the time of its chart");

  // A silence takes a token that may operate.
  await page.go(base + paths.alert);
  const silence = (token) => page.evaluate(`(() => {
    const form = document.querySelector("#silence form");
    form.closest("details").open = true;
    form.elements.comment.value = "known";
    if (form.elements.token) form.elements.token.value = ${JSON.stringify(token)};
    form.requestSubmit(); })()`);
  await silence("");
  await page.until("document.querySelector('#silence .form-message').textContent.includes('token')", "that it takes a token");
  check(await page.evaluate("document.querySelector('#silence .form-message').classList.contains('bad')"), "without a token it looks as if it had worked");
  check(await page.evaluate("document.cookie === ''"), "a cookie is kept");
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
  await behind.until("document.getElementById('banner')?.textContent.includes('requires a login')", "why it cannot go on");
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
  await byKeyboard(browser, paths, check);
}

/** With no pointer at all: every page's links and fields are reached, and an alert is silenced. */
async function byKeyboard(browser, paths, check) {
  const page = await browser.open(DESKTOP);
  const key = async (name, code, text) => {
    for (const type of ["keyDown", "keyUp"]) await page.call("Input.dispatchKeyEvent", { type, key: name, code: name, windowsVirtualKeyCode: code, text: type === "keyDown" ? text : undefined });
  };
  const tabTo = async (selector) => {
    for (let stop = 0; stop < MAX_STOPS; stop += 1) {
      await key("Tab", 9);
      if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return true;
    }
    return false;
  };
  for (const [name, selector] of [["overview", "#queues h3 a"], ["jobs", "#found tbody a"], ["queue", ".picker button"], ["waiting", "#holders a"], ["health", "#targets a"], ["whatIf", "textarea"]]) {
    await page.go(base + paths[name]);
    check(await tabTo(selector), `by keyboard, ${name}: ${selector} is not reached`);
    check(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), `by keyboard, ${name}: nobody sees what ${selector} has the focus`);
  }
  await page.go(base + paths.alert);
  check(await tabTo("#silence summary"), "by keyboard: the form of a silence is not reached");
  await key("Enter", 13, "\r");
  check(await tabTo("#silence [name=comment]"), "by keyboard: why is not reached");
  await page.call("Input.insertText", { text: "known" });
  check(await tabTo("#silence [name=token]"), "by keyboard: the token is not reached");
  await page.call("Input.insertText", { text: "operate-token-of-ann-1" });
  await key("Enter", 13, "\r");
  await page.until("document.querySelector('#silence .form-message').textContent === 'Done.'", "a silence by keyboard alone");
  await page.close();
}

async function pictures(browser, paths) {
  mkdirSync(folder, { recursive: true });
  for (const [name, of, device, dark, full] of PICTURES) {
    const page = await browser.open({ ...device, dark });
    await page.go(base + paths[of]);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", "charts");
    writeFileSync(join(folder, `${name}.webp`), await page.picture(full));
    if (name === FRONT) writeFileSync(join(folder, `${name}.png`), await page.picture(full, "png"));
    await page.close();
  }
}
