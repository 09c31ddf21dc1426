// What is scraped and how it goes, the unhealthy first; what was found and is not scraped; and of each target, why.

import { chips, telling } from "./chips.js";
import { empty, h, marked } from "./dom.js";
import { explanation } from "./explained.js";
import { ago, clip, duration, whole } from "./format.js";
import { listing } from "./listing.js";

const STATES = {
  scraped: { title: "Scraped", of: ["down", "unknown", "up"], always: true },
  down: { title: "Down", of: ["down"], always: true },
  unknown: { title: "Unknown", of: ["unknown"] },
  up: { title: "Up", of: ["up"], always: true },
  dropped: { title: "Dropped", of: ["dropped"], always: true },
  unusable: { title: "Unusable", of: ["unusable"] },
  duplicate: { title: "Found twice", of: ["duplicate"] },
};
const LEFT_OUT = new Set(["dropped", "unusable"]);
const LONG = 200;

/** Build the page. */
export const targets = (place, parameters) => listing(KIND, place, parameters);

const KIND = {
  name: "targets",
  title: "Targets",
  placeholder: "Filter by label, URL or job",
  states: STATES,
  countsOf: (job) => job,
  keyOf,
  tile,
  head,
  row: rowOf,
  nothing: () => empty("No targets", h("p", "Nothing is configured to be scraped, or discovery has found nothing yet. ", h("code", "pronoia targets --config FILE"), " shows what a configuration finds.")),
  none: (state) => `No target is ${STATES[state].title.toLowerCase()}.`,
};

function keyOf(row) {
  return JSON.stringify([row.scrapePool, row.state === "duplicate", row.discoveredLabels]);
}

function tile(_, counts) {
  const scraped = counts.down + counts.unknown + counts.up;
  const part = (state) => {
    const element = h(`span.${state}`);
    element.style.flexGrow = counts[state];
    return counts[state] ? element : null;
  };
  const others = [["dropped", "dropped"], ["unusable", "unusable"], ["duplicate", "found twice"]].filter(([state]) => counts[state]).map(([state, words]) => `${whole(counts[state])} ${words}`);
  return [
    h("span", { className: `count ${counts.down ? "bad" : scraped && scraped === counts.up ? "good" : ""}` }, scraped ? `${whole(counts.up)} / ${whole(scraped)} up` : "none scraped"),
    h("span.meter", { "aria-hidden": "true" }, part("up"), part("unknown"), part("down")),
    others.length ? h("span.dim.others", others.join(", ")) : null,
  ];
}

function head(state) {
  const scraped = !LEFT_OUT.has(state);
  return [
    h("th.w-health", "State"), h("th.w-instance", "Target"), h("th.w-job", "Job"), h("th", scraped ? "Labels" : "Why, and what was discovered"),
    scraped ? [h("th.number.w-time", "Last scrape"), h("th.number.w-short", "Took"), h("th.number.w-short", "Every")] : null,
  ];
}

function rowOf(row, { words, now, opened, toggle }) {
  const key = keyOf(row);
  const open = opened.has(key);
  const { instance, job, ...labels } = row.labels || {};
  const scraped = row.health !== undefined;
  const address = instance || row.scrapeUrl || row.discoveredLabels.__address__ || "no address";
  const click = (event) => { if (!event.target.closest("a, button") && !String(getSelection())) toggle(row); };
  return [
    h("tr", { className: `target ${row.lastError || open ? "joined" : ""}`, onclick: click },
      h("td.nowrap", h("button.open", { type: "button", "aria-expanded": String(open), "aria-label": `Why ${address} is what it is`, "data-row": key, onclick: () => toggle(row) }, h("span.twist")), h("span", { className: `state ${row.state}` }, row.state === "duplicate" ? "found twice" : row.state)),
      h("td", h("strong", ...marked(clip(address, LONG), words)), row.scrapeUrl ? h("div.dim.url", ...marked(clip(row.scrapeUrl, LONG), words)) : null),
      h("td", ...marked(row.scrapePool, words)),
      row.reason ? h("td", h("div.reason", ...marked(row.reason, words)), chips(telling(row.discoveredLabels), words, 4)) : h("td", chips(labels, words, 12)),
      row.reason ? null : [
        h("td.number", scraped ? ago(Date.parse(row.lastScrape) / 1000, now) : "–"),
        h("td.number", scraped ? duration(row.lastScrapeDuration) : "–"),
        h("td.number.dim", row.scrapeInterval)]),
    row.lastError ? h("tr.error", { className: open ? "error joined" : "error" }, h("td"), h("td", { colSpan: 6 }, ...marked(row.lastError, words))) : null,
    open ? h("tr.why", h("td", { colSpan: row.reason ? 4 : 7 }, explanation(opened.get(key), words))) : null,
  ];
}
