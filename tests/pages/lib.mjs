// What all tests of the pages share.

import { start } from "./browser.mjs";

export const DESKTOP = { width: 1280, height: 900 };
/** A screen on the wall, 3840 pixels wide, without scaling. */
export const WALL = { width: 3840, height: 2160 };
export const PHONE = { width: 390, height: 844, scale: 2, mobile: true };

/** Every page, with the alerts and jobs of the service at `base`. */
export async function everyPage(base) {
  const alerts = await (await fetch(`${base}/api/v1/alerts`)).json();
  const of = (state) => alerts.find((alert) => alert.state === state).id;
  const silenced = alerts.find(({ silences }) => silences?.length).id;
  return {
    overview: "/", alerts: "/alerts", alert: `/alerts/${of("firing")}`, ended: `/alerts/${of("resolved")}`, gone: "/alerts/0123456789abcdef", silenced: `/alerts/${silenced}`,
    jobs: "/jobs", mine: "/jobs?owner=ada&state=RUNNABLE&sort=waiting", waiting: "/jobs/job-03", running: "/jobs/job-nightly", failed: "/jobs/job-failed", unknown: "/jobs/none-such",
    queue: "/queues/research?range=6h", share: "/queues/research/shares/language?range=24h", health: "/health", whatIf: "/what-if?set=queue.research.capacity%3D%2B4", runbooks: "/runbooks", runbook: "/runbooks/LongWait",
  };
}

/** Runs a test with a browser; says what failed and with which exit code. */
export async function test(run) {
  const browser = await start();
  const failures = [];
  const check = (holds, message) => {
    if (!holds) failures.push(message);
  };
  try {
    await run(browser, check);
  } catch (reason) {
    failures.push(reason.stack ?? String(reason));
  } finally {
    await browser.close();
  }
  for (const failure of failures) console.error(failure);
  process.exitCode = failures.length ? 1 : 0;
}
