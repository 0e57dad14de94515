// All alerts: those that fire, by severity and then by age; those that are about to; those that ended.

import { alertList, noneFires } from "./alertlist.js";
import { ask } from "./api.js";
import { el, empty } from "./format.js";
import { fill, layOut, live, place, section } from "./live.js";
import { worstFirst } from "./labels.js";

function draw(alerts, tick) {
  const now = Date.parse(tick.now);
  layOut(el("h1", {}, "Alerts"), place("firing"), section("pending", "About to fire", "their condition holds, but not yet for long enough"), section("ended", "Ended"));
  const sorted = worstFirst(alerts);
  const of = (state) => sorted.filter((alert) => alert.state === state);
  const minute = Math.floor(now / 60000);
  fill("firing", [of("firing"), minute], () => (of("firing").length ? alertList(of("firing"), now) : noneFires(tick)));
  document.getElementById("pending-section").hidden = of("pending").length === 0;
  fill("pending", [of("pending"), minute], () => alertList(of("pending"), now));
  fill("ended", [of("resolved"), minute], () => (of("resolved").length ? alertList(of("resolved"), now) : empty("None ended recently.")));
}

live({ load: () => ask("api/v1/alerts"), draw });
