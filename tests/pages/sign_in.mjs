// Below the path of a proxy, with a token that may read: signing in leads to the page that was asked for, and on from there.
// node sign_in.mjs BASE TOKEN

import { DESKTOP, PHONE, test } from "./lib.mjs";

const [base, token] = process.argv.slice(2);

await test(async (browser, check) => {
  for (const device of [DESKTOP, PHONE]) {
    const page = await browser.open(device);
    const enter = (words) => page.evaluate(`(() => {
      const form = document.getElementById("sign-in");
      form.querySelector("input").value = ${JSON.stringify(words)};
      form.requestSubmit(); })()`);
    await page.call("Page.navigate", { url: `${base}/jobs?owner=ada` });
    await page.until("document.getElementById('sign-in')?.hidden === false", "the question for a token");
    await enter("a-token-of-nobody-0001");
    await page.until("document.getElementById('why').textContent === 'Unknown token.'", "that the token is wrong");
    await enter(token);
    await page.until("document.querySelectorAll('#found tbody tr').length > 1", "the jobs that were asked for");
    check(await page.evaluate("location.search === '?owner=ada'"), "signing in loses what was asked for");
    for (const [part, words, answer] of [["#found", "language-pretrain-0", "What it waited for"], ["#head", "research", "Oldest wait by share"], ["header", "Runbooks", "A job has waited long"], ["header", "Overview", "Where the GPUs are"]]) {
      const link = `[...document.querySelectorAll(${JSON.stringify(`${part} a[href]`)})].find((one) => one.textContent.trim() === ${JSON.stringify(words)})`;
      await page.until(`${link} !== undefined`, `a link ${words} in ${part}`);
      await page.evaluate(`${link}.click()`);
      await page.until(`document.body.innerText.includes(${JSON.stringify(answer)}) && !document.getElementById("sign-in")`, `${answer} by way of ${words}`);
    }
    check(await page.evaluate("document.cookie === ''"), "the token is kept in a cookie");
    check(!(await page.evaluate("document.documentElement.outerHTML")).includes(token), "the page holds the token");
    const elsewhere = page.requests.filter((url) => !url.startsWith(`${base}/`));
    check(elsewhere.length === 0, `requests above the path of the proxy: ${elsewhere}`);
    check(page.complaints.length === 0, `the browser complains: ${page.complaints.join("; ")}`);
    await page.close();
  }
});
