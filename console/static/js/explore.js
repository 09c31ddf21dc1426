// Any series of the store, found by typing, drawn as it moves.

import { get, post } from "./api.js";
import { plot } from "./chart.js";
import { empty, h, marked, show } from "./dom.js";
import { labelText, short, time, unit, whole } from "./format.js";

const RANGES = [["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800]];
const MAX_CHOSEN = 20;
const OPEN_BELOW = 60;
const TYPING_MS = 120;
const IDEAS = ["cpu idle", "memory available", "network receive", "load", "disk", "pronoia"];

/** Build the page; what is chosen stands in the address, so that it can be bookmarked and survives a reload. */
export function explore(place, parameters) {
  const chosen = new Map();
  const hidden = new Set();
  const opened = new Map();
  const shut = new Set();
  let found = { total: 0, families: [], stored: true };
  let seconds = 900;
  let rate = null;
  let fixed = null;
  let paused = false;
  let drawn = null;
  let typing = 0;
  let asking = null;
  let searching = null;
  let listed = "";
  const types = new Map();

  const search = h("input", { type: "search", id: "series-search", placeholder: "Search all series: name, label, value", "aria-label": "Search series", autocomplete: "off", spellcheck: false, oninput: typed, onkeydown: keyed });
  const summary = h("p.found", { role: "status" });
  const results = h("div.results", { id: "series" });
  const ranges = h("div.segments", { role: "group", "aria-label": "Time range" });
  const rateButton = h("button.toggle", { type: "button", id: "rate", onclick: () => { rate = !rated(); changed(); } }, "Rate per second");
  const pauseButton = h("button.toggle", { type: "button", onclick: () => { paused = !paused; controls(); if (!paused) refreshChart(); } }, "Pause");
  const clear = h("button.toggle", { type: "button", id: "clear", hidden: true, onclick: () => { chosen.clear(); hidden.clear(); changed(); } }, "Clear");
  const live = h("button.live", { type: "button", hidden: true, onclick: () => { fixed = null; changed(); } }, "Back to now");
  const canvas = h("div.chart", { id: "chart" });
  const legend = h("div.legend", { id: "legend" });
  const message = h("p.note", { role: "status" });
  const side = h("section.panel.finder", h("label.search", search, h("kbd", "/")), summary, results);
  const main = h("section.panel.plot", h("div.bar", ranges, live, h("span.grow"), clear, rateButton, pauseButton), message, canvas, legend);
  place.append(h("h1.hidden", "Explore"), h("div.explore", side, main));
  const chart = plot(canvas, { zoomed: (from, to) => { fixed = [from, to]; changed(); }, reset: () => { fixed = null; changed(); }, hovered: drawLegend });

  load(parameters);
  find();

  function load(from) {
    chosen.clear();
    for (const text of from.getAll("s")) {
      try {
        const labels = JSON.parse(text);
        if (labels && typeof labels === "object" && chosen.size < MAX_CHOSEN) chosen.set(keyOf(labels), labels);
      } catch {
        continue;  // an address cut short: the series that can be read are shown
      }
    }
    seconds = Number(from.get("range")) || 900;
    rate = from.has("rate") ? from.get("rate") === "1" : null;
    fixed = from.has("from") && from.has("to") ? [Number(from.get("from")), Number(from.get("to"))] : null;
    controls();
  }

  function address() {
    const out = new URLSearchParams();
    for (const labels of chosen.values()) out.append("s", JSON.stringify(labels));
    out.set("range", String(seconds));
    if (rate !== null) out.set("rate", rate ? "1" : "0");
    if (fixed) {
      out.set("from", String(fixed[0]));
      out.set("to", String(fixed[1]));
    }
    return `#/explore?${out}`;
  }

  /** Something was chosen: keep it in the address without a step in the history for each click, and draw. */
  function changed() {
    history.replaceState(null, "", address());
    controls();
    drawResults();
    return refreshChart();
  }

  function controls() {
    show(ranges, RANGES.map(([name, length]) => h("button", { type: "button", "aria-pressed": String(!fixed && seconds === length), onclick: () => { seconds = length; fixed = null; changed(); } }, name)));
    rateButton.setAttribute("aria-pressed", String(rated()));
    pauseButton.setAttribute("aria-pressed", String(paused));
    live.hidden = !fixed;
    clear.hidden = !chosen.size;
    // Coming back from another page finds the chart as it was left.
    document.querySelector("nav a[data-page=explore]").setAttribute("href", address());
  }

  /** Rates are shown where all that is chosen counts upwards, unless the button said otherwise. */
  function rated() {
    if (rate !== null) return rate;
    return chosen.size > 0 && [...chosen.values()].every((labels) => typeOf(labels.__name__) === "counter");
  }

  function typeOf(name) {
    return types.get(name) || (/_(total|bucket|count)$/.test(name || "") ? "counter" : "");
  }

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(find, TYPING_MS);
  }

  function keyed(event) {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      const first = results.querySelector("button.series, button.family");
      if (first) {
        event.preventDefault();
        if (event.key === "Enter") first.click();
        else first.focus();
      }
    }
  }

  results.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const all = [...results.querySelectorAll("button.series, button.family")];
    const next = all[all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    event.preventDefault();
    (next || (event.key === "ArrowUp" ? search : null))?.focus();
  });

  async function find() {
    searching?.abort();
    searching = new AbortController();
    const { signal } = searching;
    try {
      const text = search.value;
      const answer = await get("console/search", { q: text }, signal);
      if (text !== found.text) {
        opened.clear();
        shut.clear();
      }
      found = { ...answer, text };
      for (const family of found.families) types.set(family.name, family.type);
      if (found.total <= OPEN_BELOW) await openAll(signal);
      else await Promise.all([...opened.keys()].map((name) => openFamily(name, signal)));
      const now = JSON.stringify([found, [...opened]]);
      // A list that did not change is left alone: a click may be on its way to it.
      if (now === listed) return;
      listed = now;
      controls();
      drawResults();
    } catch (error) {
      if (error.name !== "AbortError") show(summary, error.message);
    }
  }

  /** Few were found: show them all, with one question for all of them. */
  async function openAll(signal) {
    const { series } = await get("console/series", { q: found.text }, signal);
    opened.clear();
    for (const family of found.families) if (!shut.has(family.name)) opened.set(family.name, { total: 0, series: [] });
    for (const labels of series) {
      const list = opened.get(labels.__name__ || "");
      if (list) list.total = list.series.push(labels);
    }
  }

  async function openFamily(name, signal) {
    opened.set(name, await get("console/series", { q: found.text, name }, signal));
  }

  async function toggleFamily(name) {
    if (opened.delete(name)) shut.add(name);
    else {
      shut.delete(name);
      await openFamily(name);
    }
    drawResults();
  }

  function drawResults() {
    const words = (found.text || "").toLowerCase().split(/\s+/).filter(Boolean);
    if (!found.stored) {
      show(results, empty("No store here", "This process keeps no samples itself: look at them in the store that its sinks write to."));
      return;
    }
    const more = found.names > found.families.length ? `; the first ${whole(found.families.length)} are shown` : "";
    show(summary, `${whole(found.total)} series of ${whole(found.names || 0)} ${found.names === 1 ? "metric" : "metrics"}${more}`);
    const at = results.scrollTop;
    const focused = document.activeElement?.dataset?.key;
    show(results,
      found.families.map((family) => drawFamily(family, words)),
      found.total ? null : words.length ? empty("Nothing matches", "Each word must stand somewhere in a series' name, labels or values.") : empty("No series yet", "The first ones arrive with the first scrape."));
    results.scrollTop = at;
    if (focused) results.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  function drawFamily(family, words) {
    const list = opened.get(family.name);
    const shared = list ? sharedLabels(list.series) : {};
    return h("div.group",
      h("button.family", { type: "button", title: family.help, "aria-expanded": String(Boolean(list)), onclick: () => toggleFamily(family.name) },
        h("span.twist", { "aria-hidden": "true" }), h("span.name", ...marked(family.name, words)), family.type ? h("span.type", family.type) : null, h("span.count", whole(family.count))),
      list ? h("div.members",
        list.total > 1 ? h("button.all", { type: "button", onclick: () => chooseAll(list.series) }, list.total > MAX_CHOSEN ? `Choose the first ${MAX_CHOSEN}` : `Choose all ${list.total}`) : null,
        Object.keys(shared).length ? h("p.alike", pairs(shared, words)) : null,
        list.series.map((labels) => drawSeries(labels, words, shared)),
        list.total > list.series.length ? h("p.note", `${whole(list.total - list.series.length)} more: type to narrow down.`) : null) : null);
  }

  function drawSeries(labels, words, shared) {
    const key = keyOf(labels);
    const button = h("button.series", { type: "button", "aria-pressed": String(chosen.has(key)), onclick: () => toggle(labels) },
      pairs(labels, words, shared));
    if (Object.keys(labels).length === 1) button.append(h("span.dim", "no labels"));
    button.dataset.key = key;
    return button;
  }

  function toggle(labels) {
    const key = keyOf(labels);
    if (!chosen.delete(key)) {
      if (chosen.size === MAX_CHOSEN) {
        show(message, `A chart shows ${MAX_CHOSEN} series: remove one first.`);
        return;
      }
      chosen.set(key, labels);
    }
    changed();
  }

  function chooseAll(series) {
    const keys = series.slice(0, MAX_CHOSEN).map(keyOf);
    const all = keys.every((key) => chosen.has(key));
    for (const [n, key] of keys.entries()) {
      if (all) chosen.delete(key);
      else if (chosen.size < MAX_CHOSEN) chosen.set(key, series[n]);
    }
    changed();
  }

  async function refreshChart() {
    asking?.abort();
    if (!chosen.size) {
      drawn = null;
      chart.clear();
      canvas.classList.add("nothing");
      show(message);
      show(legend, empty("Pick a series", "Search on the left, then choose one or more. Drag over the chart to zoom in.", h("p.ideas", IDEAS.map((idea) => h("button.idea", { type: "button", onclick: () => { search.value = idea; find(); search.focus(); } }, idea)))));
      return;
    }
    canvas.classList.remove("nothing");
    asking = new AbortController();
    const end = fixed ? fixed[1] : Date.now() / 1000;
    const start = fixed ? fixed[0] : end - seconds;
    const wanted = [...chosen.values()];
    const showRate = rated();
    try {
      const answer = await post("console/chart", { series: wanted, start, end, points: Math.max(120, Math.round(canvas.clientWidth / 2)), rate: showRate }, asking.signal);
      drawn = { ...answer, wanted, rate: showRate };
      const units = wanted.map((labels) => unit(labels.__name__, showRate));
      chart.draw({
        times: answer.times,
        lines: wanted.map((labels, n) => ({ values: answer.series[n] || answer.times.map(() => null), shown: !hidden.has(keyOf(labels)) })),
        range: [start, end],
        format: new Set(units).size === 1 ? units[0] : short,
      });
      show(message, fixed ? `${time(start)} to ${time(end)}, a point every ${answer.step} s` : null);
      drawLegend(null);
    } catch (error) {
      if (error.name !== "AbortError") show(message, error.message);
    }
  }

  /** The table below the chart: the newest values, or those under the cursor. */
  function drawLegend(at) {
    if (!drawn) return;
    const shared = sharedLabels(drawn.wanted);
    const rows = drawn.wanted.map((labels, n) => {
      const values = drawn.series[n];
      const format = unit(labels.__name__, drawn.rate);
      const there = values ? values.filter((value) => value !== null) : [];
      const now = !values ? null : at === null ? there[there.length - 1] ?? null : values[at];
      const key = keyOf(labels);
      return h("tr", { className: hidden.has(key) ? "off" : "" },
        h("td", h("button.swatch", { type: "button", className: `swatch c${n % 10}`, title: "Show or hide", "aria-pressed": String(!hidden.has(key)), onclick: () => { if (!hidden.delete(key)) hidden.add(key); refreshChart(); } })),
        h("td.who", { title: labelText(labels) }, h("strong", labels.__name__ || ""), " ", h("span.dim", labelText(labels, shared))),
        h("td.number.now", there.length ? format(now) : values === null ? "gone" : "no samples"),
        h("td.number.dim", there.length ? format(Math.min(...there)) : "–"),
        h("td.number.dim", there.length ? format(Math.max(...there)) : "–"),
        h("td", h("button.remove", { type: "button", title: "Remove", "aria-label": `Remove ${labels.__name__}`, onclick: () => { chosen.delete(key); changed(); } }, "×")));
    });
    show(legend, h("div.scroll", h("table",
      h("thead", h("tr", h("th"), h("th", "Series"), h("th.number", at === null ? "Newest" : time(drawn.times[at])), h("th.number", "Least"), h("th.number", "Most"), h("th"))),
      h("tbody", rows))),
    Object.keys(shared).length ? h("p.note.shared", "All with ", h("span", labelText(shared))) : null);
  }

  return {
    refresh: async () => {
      await find();
      if (!paused && !(fixed && drawn)) await refreshChart();
    },
    moved: (to) => { load(to); drawResults(); refreshChart(); },
    close: () => { searching?.abort(); asking?.abort(); chart.close(); },
  };
}

/** Labels but the name and those in `shared`, as elements, with the words of the search marked. */
function pairs(labels, words, shared = {}) {
  return Object.entries(labels).filter(([name]) => name !== "__name__" && !(name in shared))
    .map(([name, value]) => [h("span.pair", h("span.dim", `${name}=`), ...marked(value, words)), " "]);
}

/** The labels, besides the name, that all of several series have alike. */
function sharedLabels(wanted) {
  if (wanted.length < 2) return {};
  const [first, ...rest] = wanted;
  return Object.fromEntries(Object.entries(first).filter(([name, value]) => name !== "__name__" && rest.every((labels) => labels[name] === value)));
}

const keyOf = (labels) => JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
