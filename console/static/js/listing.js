// A page of what was found, by job and state: filtered by typing, a row at a time opened for why it is what it is.

import { get, post } from "./api.js";
import { empty, h, show } from "./dom.js";
import { whole } from "./format.js";

const ROWS = 100;
const MOST_ROWS = 1000;
const TYPING_MS = 150;
const SCROLLED = [".jobs", ".scroll:has(> .targets)"];

/**
 * Build the page; what is chosen stands in the address. A `kind` says what is listed:
 * `name` (in addresses and the API), `title`, `placeholder`, `states` (each with its title, what it is `of`, and whether
 * it is shown `always`; the first is chosen), `countsOf(job)`, `tile(name, job)` (what a job's button holds),
 * `keyOf(row)`, `head(state)` and `row(row, view)` (of the table), `nothing()` (the page without jobs) and `none(state)`;
 * where it has them, `taken(data)` gets what came, and `above(data, job)` stands above the table.
 */
export function listing(kind, place, parameters) {
  const { name: page, states: STATES } = kind;
  const first = Object.keys(STATES)[0];
  const chosen = { job: "", state: first, q: "", limit: ROWS };
  const opened = new Map(); // by row: its explanation, or null while it is asked for
  let data = null;
  let now = Date.now() / 1000;
  let typing = 0;
  let asking = null;
  const search = h("input", { type: "search", placeholder: kind.placeholder, "aria-label": `Filter ${kind.title.toLowerCase()}`, oninput: typed });
  const states = h("div.segments", { role: "group", "aria-label": "State" });
  const body = h("div");
  place.append(h("div.bar", h("h1", kind.title), h("label.search", search, h("kbd", "/")), states), body);
  moved(parameters);

  function moved(from) {
    chosen.job = from.get("job") || "";
    chosen.state = STATES[from.get("state")] ? from.get("state") : first;
    chosen.q = search.value = from.get("q") || "";
  }

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ q: search.value.trim() }), TYPING_MS);
  }

  async function choose(changed) {
    Object.assign(chosen, { limit: ROWS }, changed);
    const kept = Object.entries({ job: chosen.job, state: chosen.state === first ? "" : chosen.state, q: chosen.q }).filter(([, value]) => value);
    history.replaceState(null, "", `#/${page}${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    try {
      await load();
    } catch (error) {
      if (error.name !== "AbortError") show(body, empty(`The ${kind.title.toLowerCase()} are not known`, error.message));
    }
  }

  async function load() {
    if (asking) asking.abort();
    asking = new AbortController();
    const asked = { job: chosen.job, state: STATES[chosen.state].of.join(","), q: chosen.q, limit: chosen.limit };
    data = await get(`console/${page}`, asked, asking.signal);
    if (kind.taken) kind.taken(data);
    draw();
  }

  async function toggle(row) {
    const key = kind.keyOf(row);
    if (opened.delete(key)) return draw();
    opened.set(key, null);
    draw();
    try {
      opened.set(key, await post(`console/${page}/explain`, { scrapePool: row.scrapePool, labels: row.discoveredLabels }));
    } catch (error) {
      opened.set(key, { error: error.message });
    }
    draw();
  }

  function draw() {
    const goOn = whereOneIs(place);
    const jobs = Object.entries(data.jobs);
    if (!jobs.some(([, job]) => Object.values(kind.countsOf(job)).some(Boolean))) {
      show(states);
      show(body, kind.nothing());
      return;
    }
    const words = chosen.q.toLowerCase().split(/\s+/).filter(Boolean);
    const counted = jobs.filter(([job]) => !chosen.job || job === chosen.job).map(([, job]) => kind.countsOf(job));
    const count = (state) => STATES[state].of.reduce((sum, each) => sum + counted.reduce((part, counts) => part + counts[each], 0), 0);
    show(states, Object.keys(STATES).filter((state) => STATES[state].always || state === chosen.state || count(state)).map((state) =>
      h("button", { type: "button", "data-state": state, "aria-pressed": String(state === chosen.state), onclick: () => choose({ state }) }, STATES[state].title, h("span.count", ` ${whole(count(state))}`))));
    show(body,
      kind.above ? kind.above(data, chosen.job) : null,
      jobs.length > 1 ? h("div.jobs", jobs.map(([name, job]) => tile(name, job))) : null,
      data.rows.length ? table(words) : empty(chosen.q ? "Nothing matches" : "None", chosen.q ? "Try fewer words, or another state." : kind.none(chosen.state)));
    goOn();
  }

  function tile(name, job) {
    return h("button.job", { type: "button", "data-job": name, title: name, "aria-pressed": String(chosen.job === name), onclick: () => choose({ job: chosen.job === name ? "" : name }) },
      h("strong", name), kind.tile(name, job));
  }

  function table(words) {
    const more = data.matching - data.rows.length;
    const note = data.matching === data.rows.length ? `${whole(data.matching)} shown` : `${whole(data.rows.length)} of ${whole(data.matching)} shown`;
    const unkept = STATES[chosen.state].of.includes("dropped") && !chosen.q && !chosen.job ? Object.values(data.jobs).reduce((sum, job) => sum + STATES[chosen.state].of.reduce((part, state) => part + kind.countsOf(job)[state], 0), 0) - data.matching : 0;
    const view = { words, now, opened, toggle };
    return h("section.panel",
      h("div.scroll", h(`table.targets.of-${page}`, h("thead", h("tr", kind.head(chosen.state))), h("tbody", data.rows.map((row) => kind.row(row, view))))),
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

/** Note what has the focus and how far is scrolled; gives what goes on there once all is drawn anew. */
function whereOneIs(place) {
  const held = place.contains(document.activeElement) ? document.activeElement.dataset : {};
  const [name] = ["row", "job", "state"].filter((each) => each in held);
  const scrolled = SCROLLED.map((selector) => [selector, place.querySelector(selector)]).filter(([, part]) => part).map(([selector, part]) => [selector, part.scrollLeft, part.scrollTop]);
  return () => {
    if (name) place.querySelector(`[data-${name}="${CSS.escape(held[name])}"]`)?.focus({ preventScroll: true });
    for (const [selector, left, top] of scrolled) place.querySelector(selector)?.scrollTo(left, top);
  };
}
