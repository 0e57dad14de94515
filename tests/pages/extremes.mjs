// Pages of services that are unlike others: long and turning names, very many shares, nothing at all.
// node extremes.mjs BASE

import { DESKTOP, everyPage, PHONE, test } from "./lib.mjs";

const [base] = process.argv.slice(2);
/** As long as AWS lets a name be, with a character that turns all that follows, and letters from right to left. */
const LONG = "-with-\u202e\u05ea\u05d5\u05e8-".padEnd(110, "a-very-long-name");
const NAMES = new Set(["name", "queue", "share", "owner", "lender", "borrower", "receiver", "training_job", "host", "sink", "rule", "author"]);
const SHARES = 200;
/** The highest that a page of very many shares may be, in pixels. */
const HIGHEST = 6000;

/** An answer in which each name is long. */
function longNames(value, key = "") {
  if (Array.isArray(value)) return value.map((item) => longNames(item, key));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, longNames(item, name)]));
  return typeof value === "string" && value && NAMES.has(key) ? value + LONG : value;
}

/** An answer with very many shares, where it is about shares. */
function manyShares(value, url) {
  const repeated = (rows, change) => (rows.length ? Array.from({ length: SHARES }, (_, index) => change(rows[index % rows.length], `team-${index}`)) : rows);
  if (url.includes("/histories")) return value.map((view) => ({ ...view, series: repeated(view.series, (row, share) => ({ ...row, labels: { ...row.labels, share } })) }));
  return Array.isArray(value) && "share" in (value[0] ?? {}) ? repeated(value, (row, share) => ({ ...row, share, ...("lender" in row ? { lender: share } : {}) })) : value;
}

/** An answer of a service that has just begun: no queues, no jobs, no history. */
function nothing(value, url) {
  if (url.includes("/tick")) return { ...value, firing: {}, problems: [], status: "ok" };
  if (url.includes("/histories")) return value.map((view) => ({ ...view, at: [], series: [] }));
  if (url.includes("/service")) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, Array.isArray(item) ? [] : item]));
  if (Array.isArray(value)) return [];
  return Array.isArray(value?.jobs) ? { ...value, jobs: [], next: null } : value;
}

await test(async (browser, check) => {
  const paths = await everyPage(base);
  const opened = async (name, device, change) => {
    const page = await browser.open(device);
    await page.intercept("*/api/v1/*", (text, url) => JSON.stringify(change(JSON.parse(text), url)));
    await page.go(base + paths[name]);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", `the charts of ${name}`);
    check(page.complaints.length === 0, `${name}: the browser complains: ${page.complaints.join("; ")}`);
    const odd = await page.evaluate("document.body.innerText.match(/.{0,30}\\b(undefined|NaN|null|Infinity)\\b.{0,30}/)?.[0] ?? null");
    check(odd === null, `${name} shows ${odd}`);
    return page;
  };

  for (const device of [PHONE, DESKTOP]) {
    for (const name of ["overview", "alerts", "alert", "silenced", "jobs", "waiting", "running", "queue", "share", "health"]) {
      const page = await opened(name, device, (value) => longNames(value));
      const wide = await page.evaluate("document.documentElement.scrollWidth");
      check(wide <= device.width, `long names, ${name}: ${wide} of ${device.width} wide`);
      check(await page.evaluate("!document.body.innerText.includes('\\u202e') && document.body.innerText.includes('\\ufffd')"), `${name}: a name turns what follows it`);
      const over = await page.evaluate(`(() => {
        const links = [...document.querySelectorAll("main td a, main th a")].filter((link) => link.getClientRects().length);
        const cell = (link) => link.closest("td, th").getBoundingClientRect();
        return links.filter((link) => link.getBoundingClientRect().right > cell(link).right + 1).length; })()`);
      check(over === 0, `long names, ${name}: ${over} names lie over other cells`);
      await page.close();
    }
  }

  for (const name of ["overview", "queue"]) {
    const page = await opened(name, DESKTOP, manyShares);
    const high = await page.evaluate("document.documentElement.scrollHeight");
    check(high <= HIGHEST, `very many shares, ${name}: ${high} high`);
    if (name === "queue") check((await page.text()).includes("others"), "very many shares: charts do not put the rest together");
    await page.close();
  }

  const says = { overview: ["No alert fires", "no queue is known", "Not known: no queue is known yet."], alerts: ["No alert fires."], jobs: ["No job is known."], queue: ["No queue of this name is watched now", "Nothing was recorded in this time"], health: ["No receiver is configured"] };
  for (const [name, sentences] of Object.entries(says)) {
    const page = await opened(name, DESKTOP, nothing);
    const text = await page.text();
    for (const sentence of sentences) check(text.includes(sentence), `nothing yet, ${name}: ${sentence} is missing in\n${text}`);
    check(name !== "queue" || await page.evaluate("document.querySelectorAll('.chart').length === 0"), "nothing yet: empty charts stand one below the other");
    await page.close();
  }
});
