// Nothing that axe-core calls serious or critical, on any page, by day and by night, also while its figures are old.
// node accessible.mjs BASE AXE

import { readFileSync } from "node:fs";
import { DESKTOP, everyPage, PHONE, test } from "./lib.mjs";

const [base, axe] = process.argv.slice(2);
const source = readFileSync(axe, "utf8");

await test(async (browser, check) => {
  for (const [look, device, dark] of [["desktop", DESKTOP, false], ["phone, dark", PHONE, true]]) {
    for (const path of Object.values(await everyPage(base))) {
      const page = await browser.open({ ...device, dark });
      await page.go(base + path);
      await page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })");
      await page.evaluate("document.body.classList.add('old')");
      await page.evaluate(`${source}; undefined`);
      const violations = await page.evaluate("axe.run().then(({ violations }) => violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html}: ${failureSummary}`) })))");
      for (const { id, impact, help, nodes } of violations) {
        const line = `${look}, ${path}: ${impact} ${id}: ${help}\n  ${nodes.join("\n  ")}`;
        if (["serious", "critical"].includes(impact)) check(false, line);
        else console.log(line);
      }
      await page.close();
    }
  }
});
