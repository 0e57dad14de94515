// What an open page costs a service on which nothing happens, and what one costs that nobody looks at.
// node cost.mjs BASE

import { DESKTOP, everyPage, test } from "./lib.mjs";

const [base] = process.argv.slice(2);
const WATCHED = 20000;
/** A tenth of what a page cost before there were conditional requests: 56 KB every 2 s. */
const MOST_PER_SECOND = 2800;

await test(async (browser, check) => {
  const { overview, alert, jobs, waiting, queue, health } = await everyPage(base);
  for (const path of [overview, alert, jobs, waiting, queue, health]) {
    const page = await browser.open(DESKTOP);
    await page.go(base + path);
    await page.until("document.querySelectorAll('.canvas').length === document.querySelectorAll('.canvas canvas').length", "charts");
    const [before, first] = [page.bytes(), page.requests.length];
    await new Promise((resolve) => setTimeout(resolve, WATCHED));
    const [bytes, asked] = [page.bytes() - before, page.requests.length - first];
    console.log(`${path}: ${before} bytes at first in ${first} requests, then ${Math.round((60000 * bytes) / WATCHED)} bytes a minute in ${Math.round((60000 * asked) / WATCHED)} requests`);
    check((1000 * bytes) / WATCHED <= MOST_PER_SECOND, `${path}: ${bytes} bytes in ${WATCHED / 1000} s`);
    check(asked > 0, `${path}: it asked for nothing, so that this test looked at nothing`);
    await page.evaluate("Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' }); document.dispatchEvent(new Event('visibilitychange'))");
    const hidden = page.requests.length;
    await new Promise((resolve) => setTimeout(resolve, WATCHED / 2));
    check(page.requests.length === hidden, `${path}: a page that nobody sees asked ${page.requests.length - hidden} times`);
    await page.close();
  }
});
