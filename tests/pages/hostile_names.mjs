// Names from users hold markup, everywhere: each text of each answer of the API gets an image that would run a script. None may become one.
// node hostile_names.mjs BASE

import { DESKTOP, everyPage, test } from "./lib.mjs";

const [base] = process.argv.slice(2);
const MARKUP = `<img src="x" onerror="document.documentElement.dataset.hurt='yes'"><script>document.documentElement.dataset.hurt='yes'</script>`;
/** What decides how a page draws, and comes from the service and not from users. */
const CODES = new Set(["state", "status", "unit", "ending", "at", "metric", "stat", "fold", "policy", "phase", "reason", "category", "why_none", "code"]);

/** An answer with markup behind each text, but for codes and times. */
function hostile(value, key = "") {
  if (Array.isArray(value)) return value.map((item) => hostile(item, key));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, hostile(item, name)]));
  const isTime = typeof value === "string" && !Number.isNaN(Date.parse(value)) && /^\d{4}-/.test(value);
  return typeof value !== "string" || isTime || CODES.has(key) ? value : value + MARKUP;
}

await test(async (browser, check) => {
  for (const [name, path] of Object.entries(await everyPage(base))) {
    const page = await browser.open(DESKTOP);
    await page.intercept("*/api/v1/*", (text) => JSON.stringify(hostile(JSON.parse(text))));
    await page.go(base + path);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", `the charts of ${name}`);
    const made = await page.evaluate("[...document.querySelectorAll('img, script:not([src])')].filter((node) => !node.src?.endsWith('favicon.svg')).length");
    check(made === 0, `${path}: ${made} elements were made of names`);
    check(await page.evaluate("document.documentElement.dataset.hurt === undefined"), `${path}: a name ran`);
    const shown = await page.evaluate("document.body.innerText.split('<img src=').length - 1");
    check(shown > 0 || ["gone", "unknown", "runbook", "runbooks"].includes(name), `${path}: no hostile name was shown, so this test looked at nothing`);
    const links = await page.evaluate("[...document.querySelectorAll('a[href]')].map((link) => link.protocol).filter((protocol) => !['http:', 'https:'].includes(protocol))");
    check(links.length === 0, `${path}: links to ${links}`);
    check(page.complaints.length === 0, `${path}: the browser complains: ${page.complaints.join("; ")}`);
    await page.close();
  }
  // In the address, as somebody may send it: links that others make lead to pages of the service with any text in them.
  const text = encodeURIComponent(MARKUP);
  for (const path of [`/jobs/${text}`, `/jobs?owner=${text}&name=${text}`, `/queues/${text}`, `/queues/research/shares/${text}`, `/alerts/${text}`, `/what-if?set=${text}`]) {
    const page = await browser.open(DESKTOP);
    await page.go(base + path);
    const made = await page.evaluate("[...document.querySelectorAll('img, script:not([src])')].filter((node) => !node.src?.endsWith('favicon.svg')).length");
    check(made === 0, `${path}: ${made} elements were made of the address`);
    check(await page.evaluate("document.documentElement.dataset.hurt === undefined"), `${path}: the address ran`);
    await page.close();
  }
});
