// What is scraped and how it goes, the unhealthy first; what was found and is not scraped; and of each target, why.

import { get, post } from "./api.js";
import { empty, h, marked, show } from "./dom.js";
import { explanation } from "./explained.js";
import { ago, clip, duration, whole } from "./format.js";

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
/** What every target has, and what tells targets apart. */
const COMMON = /^(job|__address__|__scheme__|__metrics_path__|__scrape_interval__|__scrape_timeout__|__[a-z_]+_(histograms|to_nhcb)__|__param_.*|__meta_filepath|__meta_url)$/;
const TELLING = /(name|namespace)$/;
const ROWS = 100;
const MOST_ROWS = 1000;
const TYPING_MS = 150;
const LONG = 200;

/** Build the page; what is chosen stands in the address. */
export function targets(place, parameters) {
  const chosen = { job: "", state: "scraped", q: "", limit: ROWS };
  const opened = new Map(); // by row: its explanation, or null while it is asked for
  let data = null;
  let now = Date.now() / 1000;
  let typing = 0;
  let asking = null;
  const search = h("input", { type: "search", placeholder: "Filter by label, URL or job", "aria-label": "Filter targets", oninput: typed });
  const states = h("div.segments", { role: "group", "aria-label": "State" });
  const body = h("div");
  place.append(h("div.bar", h("h1", "Targets"), h("label.search", search, h("kbd", "/")), states), body);
  moved(parameters);

  function moved(from) {
    chosen.job = from.get("job") || "";
    chosen.state = STATES[from.get("state")] ? from.get("state") : "scraped";
    chosen.q = search.value = from.get("q") || "";
  }

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ q: search.value.trim() }), TYPING_MS);
  }

  async function choose(changed) {
    Object.assign(chosen, { limit: ROWS }, changed);
    const kept = Object.entries({ job: chosen.job, state: chosen.state === "scraped" ? "" : chosen.state, q: chosen.q }).filter(([, value]) => value);
    history.replaceState(null, "", `#/targets${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    try {
      await load();
    } catch (error) {
      if (error.name !== "AbortError") show(body, empty("The targets are not known", error.message));
    }
  }

  async function load() {
    if (asking) asking.abort();
    asking = new AbortController();
    const asked = { job: chosen.job, state: STATES[chosen.state].of.join(","), q: chosen.q, limit: chosen.limit };
    data = await get("console/targets", asked, asking.signal);
    draw();
  }

  async function toggle(row) {
    const key = keyOf(row);
    if (opened.delete(key)) return draw();
    opened.set(key, null);
    draw();
    try {
      opened.set(key, await post("console/explain", { scrapePool: row.scrapePool, labels: row.discoveredLabels }));
    } catch (error) {
      opened.set(key, { error: error.message });
    }
    draw();
  }

  function draw() {
    const focused = document.activeElement && document.activeElement.dataset.row;
    const jobs = Object.entries(data.jobs);
    if (!jobs.some(([, counts]) => Object.values(counts).some(Boolean))) {
      show(states);
      show(body, empty("No targets", h("p", "Nothing is configured to be scraped, or discovery has found nothing yet. ", h("code", "pronoia targets --config FILE"), " shows what a configuration finds.")));
      return;
    }
    const words = chosen.q.toLowerCase().split(/\s+/).filter(Boolean);
    const counted = jobs.filter(([job]) => !chosen.job || job === chosen.job).map(([, counts]) => counts);
    const count = (state) => STATES[state].of.reduce((sum, each) => sum + counted.reduce((part, counts) => part + counts[each], 0), 0);
    show(states, Object.keys(STATES).filter((state) => STATES[state].always || state === chosen.state || count(state)).map((state) =>
      h("button", { type: "button", "data-state": state, "aria-pressed": String(state === chosen.state), onclick: () => choose({ state }) }, STATES[state].title, h("span.count", ` ${whole(count(state))}`))));
    show(body,
      jobs.length > 1 ? h("div.jobs", jobs.map(([job, counts]) => jobTile(job, counts, chosen, choose))) : null,
      data.rows.length ? table(words) : empty(chosen.q ? "No target matches" : "None", chosen.q ? "Try fewer words, or another state." : `No target is ${STATES[chosen.state].title.toLowerCase()}.`));
    if (focused) body.querySelector(`[data-row="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function table(words) {
    const more = data.matching - data.rows.length;
    const note = data.matching === data.rows.length ? `${whole(data.matching)} shown` : `${whole(data.rows.length)} of ${whole(data.matching)} shown`;
    const unkept = STATES[chosen.state].of.includes("dropped") && !chosen.q && !chosen.job ? Object.values(data.jobs).reduce((sum, counts) => sum + counts.dropped, 0) - data.matching : 0;
    const scraped = !LEFT_OUT.has(chosen.state);
    return h("section.panel",
      h("div.scroll", h("table.targets",
        h("thead", h("tr", h("th.w-health", "State"), h("th.w-instance", "Target"), h("th.w-job", "Job"), h("th", scraped ? "Labels" : "Why, and what was discovered"),
          scraped ? [h("th.number.w-time", "Last scrape"), h("th.number.w-short", "Took"), h("th.number.w-short", "Every")] : null)),
        h("tbody", data.rows.map((row) => rowOf(row, words, now, opened, toggle))))),
      h("div.bar.more", h("span.dim", note),
        more > 0 && chosen.limit < MOST_ROWS ? h("button.idea", { type: "button", onclick: () => choose({ limit: Math.min(MOST_ROWS, chosen.limit + 2 * ROWS) }) }, "Show more") : null,
        more > 0 && chosen.limit >= MOST_ROWS ? h("span.dim", "Filter to see the others.") : null,
        unkept > 0 ? h("span.dim", `${whole(unkept)} more were dropped and are not kept (keep_dropped_targets).`) : null));
  }

  return {
    moved: (from) => { moved(from); choose({}); },
    refresh: async (facts) => {
      now = facts.now;
      await load().catch((error) => { if (error.name !== "AbortError") throw error; });
    },
  };
}

const keyOf = (row) => JSON.stringify([row.scrapePool, row.state === "duplicate", row.discoveredLabels]);

function jobTile(job, counts, chosen, choose) {
  const scraped = counts.down + counts.unknown + counts.up;
  const part = (state) => {
    const element = h(`span.${state}`);
    element.style.flexGrow = counts[state];
    return counts[state] ? element : null;
  };
  const others = [["dropped", "dropped"], ["unusable", "unusable"], ["duplicate", "found twice"]].filter(([state]) => counts[state]).map(([state, words]) => `${whole(counts[state])} ${words}`);
  return h("button.job", { type: "button", "data-job": job, title: job, "aria-pressed": String(chosen.job === job), onclick: () => choose({ job: chosen.job === job ? "" : job }) },
    h("strong", job),
    h("span", { className: `count ${counts.down ? "bad" : scraped && scraped === counts.up ? "good" : ""}` }, scraped ? `${whole(counts.up)} / ${whole(scraped)} up` : "none scraped"),
    h("span.meter", { "aria-hidden": "true" }, part("up"), part("unknown"), part("down")),
    others.length ? h("span.dim.others", others.join(", ")) : null);
}

function rowOf(row, words, now, opened, toggle) {
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

/** Labels that tell a target from others, the names first. */
function telling(labels) {
  const own = Object.entries(labels).filter(([name]) => !COMMON.test(name));
  return Object.fromEntries([...own.filter(([name]) => TELLING.test(name)), ...own.filter(([name]) => !TELLING.test(name))]);
}

function chips(labels, words, most) {
  const all = Object.entries(labels);
  const found = ([name, value]) => words.some((word) => `${name}=${value}`.toLowerCase().includes(word));
  const some = all.length > most ? [...all.filter(found), ...all.filter((label) => !found(label))].slice(0, most) : all;
  return h("span.chips",
    some.map(([name, value]) => h("span.chip", h("span.dim", ...marked(clip(name, LONG), words), "="), ...marked(clip(value, LONG), words))),
    all.length > most ? h("span.dim", `+${all.length - most}`) : null);
}
