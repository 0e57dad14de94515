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
  // The icon stays: a document without one, if only for a moment, makes the browser ask for /favicon.ico, above the path of a proxy.
  const isIcon = (node) => node instanceof Element && node.matches("link[rel=icon]");
  const old = [...document.head.childNodes].filter((node) => !isIcon(node));
  document.head.append(...[...page.head.childNodes].filter((node) => !isIcon(node)).map((node) => document.adoptNode(node)));
  for (const node of old) node.remove();
  document.body.replaceWith(document.adoptNode(page.body));
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
