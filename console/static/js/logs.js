// Log entries of the embedded store: as they come, found by text and label, and how many there were when.

import { get } from "./api.js";
import { empty, h, show } from "./dom.js";
import { time, whole } from "./format.js";
import { LEVELS, entryList, words } from "./log_entries.js";
import { filters } from "./log_filters.js";
import { histogram } from "./log_histogram.js";

const RANGES = [["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800]];
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const PAGE = 200;
const TAIL_EVERY_MS = 1000;
const TYPING_MS = 200;

/** Build the page; what is chosen stands in the address, so that it can be sent to somebody. */
export function logs(place, parameters) {
  let chosen = {};
  let last = null; // the number that the tail goes on behind
  let next = null;
  let typing = 0;
  let tailing = 0;
  let asking = new AbortController();

  const search = h("input", { type: "search", id: "log-search", placeholder: 'Search: words, "a phrase", -without, ~"regular expression"', "aria-label": "Search log lines", autocomplete: "off", spellcheck: false, oninput: () => { clearTimeout(typing); typing = setTimeout(() => choose({ q: search.value.trim() }), TYPING_MS); } });
  const ranges = h("div.segments", { role: "group", "aria-label": "Time range" });
  const live = h("button.toggle", { type: "button", id: "live", title: "Show lines as they come", onclick: () => choose(chosen.live ? { live: false } : { live: true, from: null, to: null }) }, "Live");
  const wrap = h("button.toggle", { type: "button", id: "wrap", onclick: () => choose({ wrap: !chosen.wrap }, false) }, "Wrap");
  const zoomed = h("button.live", { type: "button", hidden: true, onclick: () => choose({ from: null, to: null, live: true }) }, "Back to now");
  const levels = h("div.levels", { role: "group", "aria-label": "Level" });
  const picked = h("div.picked");
  const message = h("p.note", { role: "status", id: "log-status" });
  const bars = h("div.bars");
  const rows = h("div.entries", { id: "entries" });
  const foot = h("div.bar.more");
  place.append(
    h("div.bar", h("h1", "Logs"), h("label.search", search, h("kbd", "/")), ranges, zoomed, h("span.grow"), wrap, live),
    h("div.bar.filters", picked, levels),
    h("section.panel", bars, message),
    h("section.panel.log", rows, foot));

  const list = entryList(rows, { filter: (name, operator, value) => choose({ match: [...chosen.match.filter((one) => String(one) !== String([name, operator, value])), [name, operator, value]] }) });
  const picker = filters(picked, { changed: (match) => choose({ match }), ask: (path, asked) => get(`console/logs/${path}`, asked) });
  const drawing = histogram(bars, { zoom: (from, to) => choose({ from, to, live: false }) });

  read(parameters);
  load();

  function read(from) {
    let match = [];
    try {
      match = JSON.parse(from.get("match") || "[]").filter((one) => Array.isArray(one) && one.length === 3);
    } catch {
      match = []; // an address cut short
    }
    const fixed = Number(from.get("from")) > 0 && Number(from.get("to")) > 0;
    chosen = {
      q: from.get("q") || "",
      match,
      levels: (from.get("levels") || "").split(",").filter((level) => level in LEVELS),
      seconds: Number(from.get("range")) || 900,
      from: fixed ? Number(from.get("from")) : null,
      to: fixed ? Number(from.get("to")) : null,
      live: !fixed && from.get("live") !== "0",
      wrap: from.get("wrap") === "1",
    };
    search.value = chosen.q;
    controls();
  }

  function address() {
    const out = new URLSearchParams();
    if (chosen.q) out.set("q", chosen.q);
    if (chosen.match.length) out.set("match", JSON.stringify(chosen.match));
    if (chosen.levels.length) out.set("levels", chosen.levels.join(","));
    if (chosen.from) {
      out.set("from", String(chosen.from));
      out.set("to", String(chosen.to));
    } else {
      out.set("range", String(chosen.seconds));
      if (!chosen.live) out.set("live", "0");
    }
    if (chosen.wrap) out.set("wrap", "1");
    return `#/logs?${out}`;
  }

  function choose(changed, again = true) {
    Object.assign(chosen, changed);
    history.replaceState(null, "", address());
    controls();
    return again ? load() : null;
  }

  function controls() {
    show(ranges, RANGES.map(([name, seconds]) => h("button", { type: "button", "aria-pressed": String(!chosen.from && chosen.seconds === seconds), onclick: () => choose({ seconds, from: null, to: null }) }, name)));
    show(levels, Object.keys(LEVELS).map((level) => h("button.level", { type: "button", "data-level": level, "aria-pressed": String(chosen.levels.includes(level)), onclick: () => choose({ levels: chosen.levels.includes(level) ? chosen.levels.filter((one) => one !== level) : [...chosen.levels, level] }) }, h("span", { className: `key ${level}` }), level)));
    live.setAttribute("aria-pressed", String(chosen.live));
    wrap.setAttribute("aria-pressed", String(chosen.wrap));
    rows.classList.toggle("wrapped", chosen.wrap);
    zoomed.hidden = !chosen.from;
    picker.draw(chosen.match);
    document.querySelector("nav a[data-page=logs]").setAttribute("href", address());
  }

  /** What every question says of what is chosen. */
  function wanted() {
    return { q: chosen.q, match: JSON.stringify(chosen.match), levels: chosen.levels.join(",") };
  }

  function range() {
    const end = chosen.to || Date.now();
    return { start: chosen.from || end - chosen.seconds * 1000, end };
  }

  async function load() {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    clearTimeout(tailing);
    rows.setAttribute("aria-busy", "true");
    try {
      const within = range();
      // Live, what is dated a little ahead of this clock counts as now.
      if (chosen.live) delete within.end;
      const page = await get("console/logs/entries", { ...wanted(), ...within, limit: PAGE }, signal);
      if (!page.stored) {
        show(foot);
        list.clear();
        show(rows, empty("No store here", "This process keeps no logs itself: look at them in the store that its sinks write to."));
        return;
      }
      list.clear();
      last = page.last;
      take(page);
      await count(signal);
      if (chosen.live) tailing = setTimeout(tail, TAIL_EVERY_MS);
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    } finally {
      if (!signal.aborted) rows.removeAttribute("aria-busy");
    }
  }

  function take(page) {
    next = page.next;
    list.append(page, words(chosen.q));
    if (!list.size) none(page);
    show(foot,
      h("span.dim", list.size ? `${whole(list.size)} ${list.size === 1 ? "line" : "lines"} shown` : null),
      page.reached ? h("span.dim", `Searched back to ${time(page.reached / 1000)} so far.`) : null,
      next ? h("button.idea", { type: "button", id: "older", onclick: older }, page.reached ? "Search further back" : "Show older lines") : null);
  }

  async function older() {
    try {
      const { start } = range();
      take(await get("console/logs/entries", { ...wanted(), start, after: next, limit: PAGE }, asking.signal));
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    }
  }

  async function tail() {
    const { signal } = asking;
    try {
      const { start } = range();
      const came = await get("console/logs/tail", { ...wanted(), start, since: last, limit: PAGE }, signal);
      last = came.last;
      if (came.entries.length) list.prepend(came, words(chosen.q));
    } catch (error) {
      // The page's next question, five seconds from now, says what is wrong.
      if (error.name === "AbortError") return;
    }
    if (!signal.aborted) tailing = setTimeout(tail, document.hidden ? 10 * TAIL_EVERY_MS : TAIL_EVERY_MS);
  }

  async function count(signal) {
    const { start, end } = range();
    const most = Math.min(240, Math.max(30, Math.floor(bars.clientWidth / 8)));
    const step = 1000 * (STEPS_S.find((seconds) => (end - start) / 1000 / seconds <= most) || STEPS_S[STEPS_S.length - 1]);
    const counts = await get("console/logs/counts", { ...wanted(), start, end, step }, signal);
    drawing.draw({ ...counts, start, end });
    const total = counts.steps.reduce((sum, [, ...numbers]) => sum + numbers.reduce((a, b) => a + b, 0), 0);
    show(message, `${whole(total)} ${total === 1 ? "line" : "lines"}, ${time(start / 1000)} to ${chosen.to ? time(end / 1000) : "now"}`, counts.reached ? `; counted back to ${time(counts.reached / 1000)} only: choose a shorter range` : "");
  }

  async function none(page) {
    const { entries, streams } = await get("console/logs/labels", {}, asking.signal);
    if (list.size) return;
    const narrowed = chosen.q || chosen.match.length || chosen.levels.length;
    show(rows, !streams && !entries
      ? empty("No logs yet", h("p", "Lines show here as soon as something writes them. Without a file ", h("code", "pronoia up"), " reads this machine's logs; with one, the ", h("code", "logs"), " section of its agent says what is read."))
      : page.reached ? empty("Nothing found so far", "There is much to search: go on further back, or choose a shorter range.")
        : narrowed ? empty("Nothing matches", "Try fewer words, another filter, or a longer range.") : empty("Nothing in this time", "Choose a longer range."));
  }

  function failed(error) {
    show(message, h("span.bad", error.message));
  }

  return {
    refresh: async () => {
      if (chosen.live) await count(asking.signal).catch((error) => { if (error.name !== "AbortError") throw error; });
    },
    moved: (to) => { read(to); load(); },
    close: () => { asking.abort(); clearTimeout(tailing); drawing.close(); },
  };
}
