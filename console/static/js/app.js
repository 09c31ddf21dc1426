// Which page is shown, refreshing it, and what all pages share: the bar on top, and "/" for search.

import { get } from "./api.js";
import { h, show } from "./dom.js";
import { whole } from "./format.js";
import { deadLetters } from "./dead_letters.js";
import { explore } from "./explore.js";
import { logs } from "./logs.js";
import { logSources } from "./log_sources.js";
import { overview } from "./overview.js";
import { targets } from "./targets.js";

const PAGES = { overview, targets, explore, logs, "log-sources": logSources, "dead-letters": deadLetters };
const TITLES = { overview: "Overview", targets: "Targets", explore: "Explore", logs: "Logs", "log-sources": "Log sources", "dead-letters": "Dead letters" };
const EVERY_MS = 5000;

const place = document.getElementById("page");
const connection = document.getElementById("connection");
let current = null;
let timer = 0;

function route() {
  const [name, query] = location.hash.replace(/^#\//, "").split("?");
  const page = PAGES[name] ? name : "overview";
  const parameters = new URLSearchParams(query || "");
  if (current && current.name === page) {
    if (current.view.moved) current.view.moved(parameters);
    return;
  }
  if (current && current.view.close) current.view.close();
  document.title = `${TITLES[page]} · Pronoia`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    } else link.removeAttribute("aria-current");
  }
  show(place);
  place.className = `page-${page}`;
  current = { name: page, view: PAGES[page](place, parameters) };
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  const shown = current;
  try {
    // The bar's figures come from the overview whatever page is shown; that page gets them and asks no second time.
    const facts = await get("console/overview");
    badge("targets-down", facts.targets ? facts.targets.down : 0);
    badge("sources-failing", facts.log_sources ? facts.log_sources.failing : 0);
    badge("letters", facts.dead_letters || 0);
    if (shown === current) await shown.view.refresh(facts);
    connected(null);
  } catch (error) {
    if (shown === current) connected(error);
  } finally {
    if (shown === current) timer = setTimeout(refresh, document.hidden ? 4 * EVERY_MS : EVERY_MS);
  }
}

function badge(id, count) {
  const element = document.getElementById(id);
  element.hidden = !count;
  element.textContent = whole(count);
}

function connected(error) {
  document.body.classList.toggle("offline", Boolean(error));
  const words = error instanceof TypeError ? "no answer: is pronoia running?" : error && error.message;
  show(connection, h("span.dot", { className: error ? "dot bad" : "dot good" }), error ? words : "live");
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest && event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  } else if (event.key === "Escape" && typing && event.target.type === "search") {
    event.target.blur();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
addEventListener("hashchange", route);
route();
