// Asks for a token and loads the page that was asked for with it.

import { authorization, forget, keep } from "./token.js";

const form = document.getElementById("sign-in");
const field = document.getElementById("token");
const why = document.getElementById("why");

/** Loads the page of this address in place of this one. Says why, if it cannot. */
async function load() {
  const response = await fetch(location.href, { headers: { ...authorization(), Accept: "text/html" }, cache: "no-store" });
  if (response.status === 429) return "Too many wrong tokens came from this address. Wait a minute and try again.";
  if (response.status === 401) {
    forget();
    return "Unknown token.";
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.documentElement.replaceWith(document.adoptNode(page.documentElement));
  // Scripts of a parsed page do not run by themselves.
  for (const script of document.querySelectorAll("script[src]")) {
    const fresh = document.createElement("script");
    for (const { name, value } of script.attributes) fresh.setAttribute(name, value);
    script.replaceWith(fresh);
  }
  return null;
}

async function attempt() {
  try {
    why.textContent = (await load()) ?? "";
  } catch (reason) {
    why.textContent = `The service does not respond: ${reason.message}`;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  keep(field.value.trim());
  field.value = "";
  await attempt();
});

if ("Authorization" in authorization()) await attempt();
form.hidden = false;
field.focus();
