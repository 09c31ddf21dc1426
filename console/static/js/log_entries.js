// The list of log entries, newest first: a row each, which opens to its labels and metadata.

import { get } from "./api.js";
import { h, highlighted, show } from "./dom.js";
import { whole } from "./format.js";

/** Levels from the gravest, and what to call entries that say none. */
export const LEVELS = { critical: 1, error: 1, warn: 1, info: 1, debug: 1, trace: 1, none: 1 };
const MOST_ROWS = 2000;
/** Labels that tell people where a line is from, in the order in which they are shown. */
const TELLING = ["pod", "container", "app", "unit", "syslog_identifier", "service_name", "filename", "host", "instance", "job"];
const SHOWN = 2;
const LONGEST = 30; // characters

/** What is marked in lines: the words and phrases of a search that a line has to have. */
export function words(q) {
  const out = [];
  for (const [, sign, regex, quoted, bare] of q.matchAll(/(?:(-)(?=[^-\s]))?(?:(~?)"((?:[^"\\]|\\.)*)"?|(\S+))/g)) {
    if (!sign && !regex && (quoted || bare)) out.push((quoted ? quoted.replace(/\\(["\\])/g, "$1") : bare).toLowerCase());
  }
  return out;
}

/** Show entries in a place; `on.filter(name, operator, value)` narrows the search by a label. */
export function entryList(place, on) {
  let size = 0;
  let held = [];
  let widest = 0;
  const seen = new Set(); // streams
  const varying = new Map(); // by label name: the values seen; an empty one where a stream has no such label
  const waiting = h("button.new-lines", { type: "button", hidden: true, onclick: () => { place.scrollTop = 0; release(); } });

  place.tabIndex = -1;
  place.addEventListener("scroll", () => { if (atTop()) release(); });
  place.addEventListener("keydown", (event) => {
    const row = event.target.closest?.(".entry");
    if (!row || event.target !== row) return;
    const move = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling", j: "nextElementSibling", k: "previousElementSibling" }[event.key];
    if (move) {
      event.preventDefault();
      let other = row[move];
      while (other && !other.matches(".entry")) other = other[move];
      other?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      toggle(row);
    }
  });
  place.addEventListener("click", (event) => {
    const row = event.target.closest(".entry");
    if (row && !event.target.closest("a, button") && !String(getSelection())) toggle(row);
  });

  const atTop = () => place.scrollTop < 20;

  function learn(streams) {
    for (const labels of streams) {
      const others = seen.size && !seen.has(JSON.stringify(labels));
      seen.add(JSON.stringify(labels));
      for (const name of Object.keys(labels)) if (!varying.has(name)) varying.set(name, new Set(others ? [""] : []));
      for (const [name, values] of varying) values.add(labels[name] || "");
    }
  }

  function rowOf(entry, labels, marks) {
    const date = new Date(Number(entry.at.slice(0, -6)));
    const level = entry.level || "none";
    const row = h("div.entry", { tabIndex: 0, role: "button", "aria-expanded": "false", "data-level": level },
      h("time", { dateTime: date.toISOString(), title: exact(entry.at) }, clock(date)),
      h("span", { className: `stripe ${level}`, title: level === "none" ? "No level" : level }),
      h("span.from", { title: Object.entries(labels).map(([name, value]) => `${name}=${value}`).join("\n") }, from(labels, varying)),
      h("span.line", ...highlighted(plain(entry.line), marks), entry.length ? h("span.dim", ` … (${whole(entry.length)} characters)`) : null));
    const length = Math.min(LONGEST, row.querySelector(".from").textContent.length);
    if (length > widest) place.style.setProperty("--from", `${(widest = length)}ch`);
    row.entry = { ...entry, labels };
    return row;
  }

  function toggle(row) {
    const open = row.nextElementSibling?.matches(".detail") ? row.nextElementSibling : null;
    row.setAttribute("aria-expanded", String(!open));
    if (open) open.remove();
    else row.after(detail(row.entry, on.filter));
  }

  function release() {
    if (held.length) {
      place.prepend(...held);
      held = [];
      place.prepend(waiting);
    }
    waiting.hidden = true;
    trim();
  }

  /** Rows beyond the most that are kept go, the oldest first. */
  function trim() {
    const rows = place.querySelectorAll(".entry");
    for (let n = MOST_ROWS; n < rows.length; n += 1) {
      if (rows[n].nextElementSibling?.matches(".detail")) rows[n].nextElementSibling.remove();
      rows[n].remove();
    }
    size = Math.min(rows.length, MOST_ROWS) + held.length;
  }

  return {
    get size() { return size; },
    clear() {
      size = widest = 0;
      held = [];
      seen.clear();
      varying.clear();
      waiting.hidden = true;
      show(place, waiting);
      place.scrollTop = 0;
    },
    /** Add older entries. */
    append(page, marks) {
      learn(page.streams);
      size += page.entries.length;
      place.append(...page.entries.map((entry) => rowOf(entry, page.streams[entry.stream], marks)));
    },
    /** Add what just came, in the order in which it came; while somebody reads further down it waits above. */
    prepend(page, marks) {
      if (!size) show(place, waiting);
      learn(page.streams);
      size += page.entries.length;
      const rows = page.entries.map((entry) => rowOf(entry, page.streams[entry.stream], marks)).reverse();
      held = [...rows, ...held].slice(0, MOST_ROWS);
      if (atTop() && !place.querySelector(".detail")) release();
      else {
        waiting.hidden = false;
        show(waiting, `${whole(held.length)} new ${held.length === 1 ? "line" : "lines"}`);
        place.prepend(waiting);
      }
    },
  };
}

/** What stands under an open entry. */
function detail(entry, filter) {
  const full = h("div.full");
  const pairs = (title, labels, filterable) => (Object.keys(labels).length ? [h("h3", title), h("dl.labels", Object.entries(labels).map(([name, value]) => [
    h("dt", name),
    h("dd", value, filterable ? [" ", h("button.only", { type: "button", title: `Only ${name}=${value}`, "aria-label": `Only ${name}=${value}`, onclick: () => filter(name, "=", value) }, "only"), " ", h("button.only", { type: "button", title: `Without ${name}=${value}`, "aria-label": `Without ${name}=${value}`, onclick: () => filter(name, "!=", value) }, "without")] : null)]))] : null);
  const whole_ = entry.length ? h("button.idea", { type: "button", onclick: async (event) => {
    const { line } = await get("console/logs/line", { at: `${entry.at},${entry.id}` });
    event.target.hidden = true;
    show(full, h("pre", line));
  } }, "Show the whole line") : null;
  return h("div.detail",
    h("p.dim", exact(entry.at), entry.level ? ` · ${entry.level}` : ""),
    pairs("Labels", entry.labels, true),
    pairs("Metadata", entry.metadata || {}, false),
    full, h("pre", plain(entry.line)), whole_);
}

function from(labels, varying) {
  const all = TELLING.filter((name) => labels[name] && varying.get(name)?.size > 1);
  const names = all.slice(0, all[0] === "pod" || all[0] === "host" ? SHOWN : 1);
  return names.map((name) => (name === "filename" ? labels[name].split("/").pop() : labels[name])).join(" ");
}

/** Colours for terminals are no text. */
const plain = (line) => line.replace(/\x1b\[[0-9;]*m/g, "").replace(/\n+$/, "");

const two = (number) => String(number).padStart(2, "0");

function clock(date) {
  const day = date.toDateString() === new Date().toDateString() ? "" : `${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  return `${day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Every digit of a time in nanoseconds. */
function exact(at) {
  const date = new Date(Number(at.slice(0, -6)));
  return `${date.toLocaleDateString("en-CA")} ${date.toLocaleTimeString("en-GB")}.${at.slice(-9)}`;
}
