// What is scraped, and how it goes: by job, the unhealthy first; and what was found but dropped.

import { get } from "./api.js";
import { empty, h, marked, show } from "./dom.js";
import { ago, duration, whole } from "./format.js";

const ORDER = { down: 0, unknown: 1, up: 2 };
const MAX_ROWS = 500;

/** Build the page. */
export function targets(place) {
  let data = null;
  let now = 0;
  const search = h("input", { type: "search", placeholder: "Filter by label, URL or error", "aria-label": "Filter targets", oninput: () => draw() });
  const only = h("input", { type: "checkbox", onchange: () => draw() });
  const body = h("div");
  const open = new Set();
  place.append(h("div.bar", h("h1", "Targets"), h("label.search", search, h("kbd", "/")), h("label.check", only, "unhealthy only")), body);

  function draw() {
    if (!data) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (target) => words.every((word) => text(target).includes(word)) && (!only.checked || target.health !== "up");
    const jobs = new Map();
    for (const target of data.activeTargets) {
      if (!jobs.has(target.scrapePool)) jobs.set(target.scrapePool, []);
      jobs.get(target.scrapePool).push(target);
    }
    const shown = [...jobs].map(([job, all]) => [job, all, all.filter(matches)]).filter(([, , some]) => some.length);
    const dropped = data.droppedTargets.filter((target) => words.every((word) => text(target).includes(word)));
    if (!data.activeTargets.length && !data.droppedTargets.length) {
      show(body, empty("No targets", h("p", "Nothing is configured to be scraped, or discovery has found nothing yet. ", h("code", "pronoia targets --config FILE"), " shows what a configuration finds.")));
      return;
    }
    show(body,
      shown.map(([job, all, some]) => jobPanel(job, all, some, words, now)),
      !shown.length && data.activeTargets.length ? empty("No target matches", only.checked && !words.length ? "All targets are healthy." : "Try fewer words.") : null,
      dropped.length ? droppedPanel(dropped, data.droppedTargetCounts || {}, words, open) : null);
  }

  return {
    refresh: async (facts) => {
      data = await get("v1/targets");
      now = facts.now;
      draw();
    },
  };
}

const text = (target) => [...Object.entries(target.labels || {}).map(([name, value]) => `${name}=${value}`), ...Object.values(target.discoveredLabels || {}), target.scrapeUrl, target.scrapePool, target.lastError, target.reason].join("\n").toLowerCase();

function jobPanel(job, all, some, words, now) {
  const up = all.filter((target) => target.health === "up").length;
  some.sort((a, b) => ORDER[a.health] - ORDER[b.health]);
  return h("section.panel",
    h("h2", job, h("span", { className: `count ${up === all.length ? "good" : "bad"}` }, `${up} / ${all.length} up`)),
    h("div.scroll", h("table.targets",
      h("thead", h("tr", h("th.w-health", "Health"), h("th.w-instance", "Instance"), h("th", "Labels"), h("th.number.w-time", "Last scrape"), h("th.number.w-short", "Took"), h("th.number.w-short", "Every"))),
      h("tbody", some.slice(0, MAX_ROWS).map((target) => row(target, words, now))))),
    some.length > MAX_ROWS ? h("p.note", `${whole(some.length - MAX_ROWS)} more: filter to see them.`) : null);
}

function row(target, words, now) {
  const { instance, job, ...labels } = target.labels;
  return [
    h("tr", { className: target.lastError ? "has-error" : "" },
      h("td", h("span", { className: `state ${target.health}` }, target.health)),
      h("td", h("strong", ...marked(instance || target.scrapeUrl, words)), h("div.dim.url", ...marked(target.scrapeUrl, words))),
      h("td", chips(labels, words)),
      h("td.number", ago(Date.parse(target.lastScrape) / 1000, now)),
      h("td.number", duration(target.lastScrapeDuration)),
      h("td.number.dim", target.scrapeInterval)),
    target.lastError ? h("tr.error", h("td", { colSpan: 6 }, ...marked(target.lastError, words))) : null,
  ];
}

const chips = (labels, words) => h("span.chips", Object.entries(labels).map(([name, value]) => h("span.chip", h("span.dim", `${name}=`), ...marked(value, words))));

function droppedPanel(dropped, counts, words, open) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0) || dropped.length;
  const details = h("details.panel", { open: open.has("dropped"), ontoggle: () => (details.open ? open.add("dropped") : open.delete("dropped")) },
    h("summary", h("span.twist", { "aria-hidden": "true" }), h("h2", "Dropped", h("span.count", whole(total)))),
    h("p.note", "Found by discovery, and dropped by a rule or for the reason given: never scraped."),
    h("div.scroll", h("table", h("thead", h("tr", h("th", "Job"), h("th", "Reason"), h("th", "Discovered labels"))),
      h("tbody", dropped.slice(0, MAX_ROWS).map((target) => h("tr", h("td", target.scrapePool), h("td", target.reason || "–", target.rule === null || target.rule === undefined ? null : h("div.dim", `relabel_configs[${target.rule}]`)), h("td", chips(target.discoveredLabels, words))))))));
  return details;
}
