// What logs are read: files, containers and other inputs, how far each is, what is in trouble first; and what is left out.

import { chips, telling } from "./chips.js";
import { empty, h, marked } from "./dom.js";
import { explanation } from "./explained.js";
import { ago, bytes, clip, short, whole } from "./format.js";
import { listing } from "./listing.js";

const STATES = {
  read: { title: "Read", of: ["failing", "behind", "reading"], always: true },
  failing: { title: "Failing", of: ["failing"], always: true },
  behind: { title: "Behind", of: ["behind"], always: true },
  nothing: { title: "Nothing there", of: ["nothing"] },
  dropped: { title: "Dropped", of: ["dropped"], always: true },
  unusable: { title: "Unusable", of: ["unusable"] },
  elsewhere: { title: "Other nodes'", of: ["elsewhere"] },
  duplicate: { title: "Found twice", of: ["duplicate"] },
};
const WORDS = { nothing: "nothing there", elsewhere: "other node's", duplicate: "found twice" };
const LEFT_OUT = new Set(["dropped", "unusable", "elsewhere"]);
const OF_MANY = new Set(["files", "docker"]);
const LONG = 200;
const RATE_S = 2;
const MOST_LOSING = 50;

/** Build the page. */
export function logSources(place, parameters) {
  let jobs = {};
  const losses = { open: false };
  let rates = new Map(); // lines of each row and job: when they were counted, how many, and how many a second

  function taken(data) {
    jobs = data.jobs;
    const counted = new Map();
    const at = performance.now() / 1000;
    const note = (key, lines) => lines === null || counted.set(key, since(rates.get(key), at, lines));
    for (const [name, job] of Object.entries(jobs)) note(name, job.read.lines);
    for (const row of data.rows) note(keyOf(row), linesOf(row, jobs));
    rates = counted;
  }

  const rate = (key) => (rates.get(key) || { perSecond: null }).perSecond;
  return listing({
    name: "log-sources",
    title: "Log sources",
    placeholder: "Filter by path, label or job",
    states: STATES,
    countsOf: (job) => job.counts,
    keyOf,
    tile: (name, job) => tile(job, rate(name)),
    head,
    row: (row, view) => rowOf(row, view, jobs[row.scrapePool], linesOf(row, jobs), rate(keyOf(row))),
    nothing: () => empty("No logs are read", h("p", "Nothing is configured to be read, or discovery has found nothing yet. ", h("code", "pronoia targets --config FILE"), " shows which files a configuration finds.")),
    none: (state) => (state === "failing" ? "Everything that is found can be read." : state === "behind" ? "Everything is read to within a mebibyte of its end." : `No source is ${STATES[state].title.toLowerCase()}.`),
    taken,
    above: (data, job) => above(data, job, losses),
  }, place, parameters);
}

const keyOf = (row) => JSON.stringify([row.scrapePool, row.name, row.state === "duplicate", row.discoveredLabels]);

/** The lines read of a row; those of its job where that is one input. */
function linesOf(row, jobs) {
  const job = jobs[row.scrapePool];
  return row.lines ?? (job && row.name && !OF_MANY.has(job.input) ? job.read.lines : null);
}

/** How many lines a second came since they were counted last; over two seconds at least, whatever is typed meanwhile. */
function since(before, at, lines) {
  if (!before || lines < before.lines) return { at, lines, perSecond: null };
  return at - before.at < RATE_S ? before : { at, lines, perSecond: (lines - before.lines) / (at - before.at) };
}

function tile({ input, counts, read }, perSecond) {
  const all = counts.failing + counts.behind + counts.reading;
  const part = (state, colour) => {
    const element = h(`span.${colour}`);
    element.style.flexGrow = counts[state];
    return counts[state] ? element : null;
  };
  const trouble = [["failing", "failing"], ["behind", "behind"]].filter(([state]) => counts[state]).map(([state, words]) => `${whole(counts[state])} ${words}`);
  const lines = `${short(read.lines)} lines${perSecond === null ? "" : `, ${short(perSecond)}/s`}`;
  return [
    h("span", { className: `count ${counts.failing ? "bad" : all && !counts.behind ? "good" : ""}` }, !all ? "nothing read" : trouble.length ? trouble.join(", ") : OF_MANY.has(input) ? `${whole(all)} read` : "read"),
    h("span.meter", { "aria-hidden": "true" }, part("reading", "up"), part("behind", "unknown"), part("failing", "down")),
    h("span.dim.others", OF_MANY.has(input) || !input ? lines : `${input}: ${lines}`),
  ];
}

/** What keeps everything from being read, and which lines were dropped or cut, by job and reason. */
function above(data, chosen, losses) {
  const losing = Object.entries(data.jobs)
    .filter(([name, { read }]) => (!chosen || name === chosen) && (read.cut || Object.values(read.dropped).some(Boolean)))
    .map(([name, { read }]) => ({ name, read, sum: Object.values(read.dropped).reduce((sum, count) => sum + count, read.cut) }))
    .sort((a, b) => b.sum - a.sum).slice(0, MOST_LOSING);
  return [
    data.trouble ? h("section.verdict.bad", h("h1", h("span.sign"), "Nothing is kept just now"), h("p", data.trouble)) : null,
    losing.length ? h("details.panel.losses", { open: losses.open, ontoggle: (event) => { losses.open = event.target.open; } },
      h("summary", { "data-row": "losses" }, h("span.twist"), h("h2", "Lines dropped or cut since the start"), h("span.count", whole(losing.reduce((sum, one) => sum + one.sum, 0)))),
      h("div.scroll", h("table", h("thead", h("tr", h("th", "Job"), h("th", "Reason"), h("th.number", "Lines"))),
        h("tbody", losing.flatMap(({ name, read }) => [...Object.entries(read.dropped), ["cut at the limit of their length", read.cut]].filter(([, count]) => count).map(([reason, count]) =>
          h("tr", h("td", name), h("td.reason", clip(reason, LONG)), h("td.number", whole(count))))))))) : null,
  ];
}

function head(state) {
  const read = !LEFT_OUT.has(state);
  return [
    h("th.w-health", "State"), h("th.w-instance", "Source"), h("th.w-job", "Job"), h("th", read ? "Labels" : "Why, and what was discovered"),
    read ? [h("th.number.w-time", "Read to"), h("th.number.w-time", "Behind"), h("th.number.w-short", "Lines/s"), h("th.number.w-time", "Last read")] : null,
  ];
}

function rowOf(row, { words, now, opened, toggle }, job, lines, perSecond) {
  const key = keyOf(row);
  const open = opened.has(key);
  const found = row.discoveredLabels;
  const name = row.name || row.path || (found && found.__path__) || "no path";
  const click = (event) => { if (found && !event.target.closest("a, button") && !String(getSelection())) toggle(row); };
  const left = row.reason !== undefined;
  return [
    h("tr", { className: `${found ? "target" : ""} ${row.trouble || open ? "joined" : ""}`, onclick: click },
      h("td.nowrap",
        found ? h("button.open", { type: "button", "aria-expanded": String(open), "aria-label": `Why ${name} is what it is`, "data-row": key, onclick: () => toggle(row) }, h("span.twist")) : null,
        h("span", { className: `state ${row.state}` }, WORDS[row.state] || row.state)),
      h("td", h("strong.source", ...marked(clip(name, LONG), words)),
        row.name && row.path && row.path !== row.name ? h("div.dim.url", "found by ", ...marked(clip(row.path, LONG), words)) : null,
        row.name && job && job.input === "files" && lines ? h("div.url", h("a", { "data-row": `lines of ${key}`, href: `#/logs?${new URLSearchParams({ match: JSON.stringify([["filename", "=", row.name]]) })}` }, "its lines")) : null),
      h("td", ...marked(row.scrapePool, words)),
      left ? h("td", h("div.reason", ...marked(row.reason, words)), chips(telling(found), words, 4)) : h("td", chips(row.labels, words, 12)),
      left ? null : [
        h("td.number", bytes(row.offset)),
        h("td", { className: `number ${row.state === "behind" ? "warn" : row.behindBytes === 0 ? "zero" : ""}` }, bytes(row.behindBytes)),
        h("td.number", { title: lines === null || lines === undefined ? null : `${whole(lines)} lines since the start` }, short(perSecond)),
        h("td.number", row.lastRead ? ago(row.lastRead, now) : "–")]),
    row.trouble ? h("tr.error", { className: open ? "error joined" : "error" }, h("td"), h("td", { colSpan: 7 }, ...marked(clip(row.trouble, 10 * LONG), words))) : null,
    open ? h("tr.why", h("td", { colSpan: left ? 4 : 8 }, explanation(opened.get(key), words))) : null,
  ];
}
