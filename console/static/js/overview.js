// The first page: is anything being lost? Then, per cluster and sink, the figures that say so.

import { get } from "./api.js";
import { empty, h, show } from "./dom.js";
import { bytes, duration, short, whole } from "./format.js";
import { spark } from "./spark.js";

const NOUNS = { metrics: "samples", logs: "log entries", traces: "spans" };
const LATE_S = 60;

/** Build the page. */
export function overview(place) {
  let machines = { total: 0, machines: [] };
  return {
    refresh: async (facts) => {
      show(place, ...draw(facts, machines));
      machines = await get("console/machines");
      show(place, ...draw(facts, machines));
    },
  };
}

function draw(facts, machines) {
  const rows = flatten(facts);
  return [
    verdict(facts, rows),
    figures(facts, rows),
    rows.length ? table(rows) : waiting(facts),
    machinesPanel(machines),
    troubles(facts),
  ];
}

/** How the machines are that are scraped: the newest values, over their last quarter of an hour. */
function machinesPanel({ total, machines }) {
  if (!machines.length) return null;
  const more = total > machines.length ? h("span.count", `the first ${machines.length} of ${whole(total)}`) : null;
  return h("section.panel", h("h2", "Machines", more), h("div.machines", machines.map(machine)));
}

function machine(facts) {
  const share = (value) => `${Math.round(value * 100)} %`;
  const perSecond = (value) => `${bytes(value)}/s`;
  const { cluster, instance } = facts.labels;
  return h("article.machine",
    h("h3", instance || "this machine", cluster ? h("span.count", cluster) : null),
    h("dl", gauge("CPU", facts.cpu, share, 1, facts.cpus ? `${facts.cpus} cores` : ""), gauge("Memory", facts.memory, share, 1), gauge("Fullest disk", facts.full, share, 1),
      gauge("Received", facts.received, perSecond), gauge("Sent", facts.sent, perSecond), gauge("Disk read", facts.read, perSecond), gauge("Disk written", facts.written, perSecond)));
}

function gauge(name, values, format, top = 0, note = "") {
  const there = values.filter((value) => value !== null);
  if (!there.length) return null;
  return h("div.gauge", h("dt", name, note ? h("span.dim", ` ${note}`) : null), h("dd", format(there[there.length - 1])), spark(values, top));
}

/** One row a (cluster, signal, sink), with the newest rates beside the counts. */
function flatten(facts) {
  const lines = new Map((facts.rates || []).map((line) => [JSON.stringify([line.cluster, line.signal, line.sink]), line.rates]));
  const rows = [];
  for (const cluster of (facts.status && facts.status.clusters) || []) {
    for (const [signal, part] of Object.entries(cluster.signals)) {
      for (const [sink, counts] of Object.entries(part.sinks)) {
        const rates = lines.get(JSON.stringify([cluster.name, signal, sink])) || [];
        rows.push({ cluster: cluster.name, signal, sink, received: part.received, rates, ...counts, rate: recent(rates) });
      }
    }
  }
  return rows;
}

/** The mean of the last half minute: scrapes come in bursts. */
function recent(rates) {
  const last = rates.slice(-6);
  return last.length ? last.reduce((sum, rate) => sum + rate, 0) / last.length : null;
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] || 0), 0);

function verdict(facts, rows) {
  const missing = sum(rows, "missing");
  const rejected = sum(rows, "rejected");
  const late = rows.filter((row) => row.lag_s > LATE_S);
  const retrying = ((facts.status && facts.status.sinks) || []).filter((sink) => sink.retrying.length || sink.stuck.length);
  if (facts.errors.length) return banner("warn", "The state is not known", facts.errors.join("; "));
  if (missing) {
    const where = names(rows.filter((row) => row.missing));
    return banner("bad", `${whole(missing)} ${noun(rows, missing)} missing`, `Numbered by an agent and never seen behind it: ${where}. An agent's full disk buffer, or records removed from the log, leave such gaps.`);
  }
  if (rejected) {
    const where = names(rows.filter((row) => row.rejected));
    return banner("warn", `Nothing is missing; ${whole(rejected)} ${noun(rows, rejected)} refused`, `By ${where}. They are kept, with the store's own words, under `, h("a", { href: "#/dead-letters" }, "Dead letters"), ".");
  }
  if (retrying.length) return banner("warn", `Nothing is lost; ${retrying.map((sink) => sink.name).join(", ")} cannot deliver now`, "What waits is kept in the log, and delivered once the sink takes it.");
  if (late.length) return banner("warn", `Nothing is lost; ${names(late)} runs behind`, `By up to ${duration(Math.max(...late.map((row) => row.lag_s)))}. What waits is kept in the log.`);
  if (!rows.length) return banner("calm", "Nothing has come through yet", "The first scrapes arrive within their interval.");
  return banner("good", "Nothing is lost", `Every item that was received is delivered to every sink: ${whole(sum(rows, "delivered"))} so far, none missing, none refused.`);
}

const noun = (rows, count) => {
  const signals = new Set(rows.map((row) => row.signal));
  const word = signals.size === 1 ? NOUNS[[...signals][0]] || "items" : "items";
  return `${word} ${count === 1 ? "is" : "are"}`.replace(/ies is$/, "y is").replace(/s is$/, " is");
};
const names = (rows) => [...new Set(rows.map((row) => `${row.cluster} → ${row.sink}`))].slice(0, 3).join(", ") + (rows.length > 3 ? " and others" : "");

function banner(kind, title, ...text) {
  return h(`section.verdict.${kind}`, { role: "status" }, h("h1", h("span.sign", { "aria-hidden": "true" }), title), h("p", ...text));
}

function figures(facts, rows) {
  const received = (facts.rates || []).filter((line) => line.sink === "").map((line) => recent(line.rates));
  const lag = rows.length ? Math.max(...rows.map((row) => row.lag_s)) : null;
  const targets = facts.targets;
  const tiles = [
    tile("Received", received.length ? `${short(received.reduce((a, b) => a + (b || 0), 0))}/s` : "–", "items a second, all clusters"),
    tile("Delivered", rows.length ? `${short(sum(rows, "rate"))}/s` : "–", "items a second, all sinks"),
    tile("Behind", lag === null ? "–" : duration(lag), "the slowest sink", lag > LATE_S ? "warn" : ""),
  ];
  if (targets) {
    const all = targets.up + targets.down + targets.unknown;
    const note = targets.down ? `${targets.down} down` : targets.unknown ? `${targets.unknown} not scraped yet` : "all answer";
    tiles.push(tile("Targets", `${targets.up} / ${all}`, note, targets.down ? "bad" : "", "#/targets"));
  }
  if (facts.dead_letters !== undefined) tiles.push(tile("Dead letters", whole(facts.dead_letters), "refused by a sink", facts.dead_letters ? "warn" : "", "#/dead-letters"));
  if (facts.logs) tiles.push(tile("Logs here", `${short(facts.logs.entries)} ${facts.logs.entries === 1 ? "line" : "lines"}`, bytes(facts.logs.stored_bytes), "", "#/logs"));
  if (facts.store) tiles.push(tile("Metrics here", `${short(facts.store.series)} series`, `${short(facts.store.samples)} samples, ${bytes(facts.store.stored_bytes)}`, "", "#/explore"));
  return h("section.tiles", { "aria-label": "Figures" }, tiles);
}

function tile(name, value, note, kind = "", link = null) {
  const content = [h("h2", name), h("p.value", value), h("p.note", note)];
  return link ? h("a.tile", { className: `tile ${kind}`, href: link }, content) : h("div", { className: `tile ${kind}` }, content);
}

function table(rows) {
  const count = (value, kind) => h("td.number", { className: `number ${value ? kind : "zero"}` }, whole(value));
  return h("section.panel",
    h("h2", "Clusters"),
    h("div.scroll", h("table",
      h("thead", h("tr", h("th", "Cluster"), h("th", "Sink"), h("th", "Signal"),
        ...["Received", "Delivered", "Rejected", "Missing", "Duplicated", "Rate now", "Behind"].map((name) => h("th.number", name)),
        h("th", { title: "The last ten minutes" }, "Trend"))),
      h("tbody", rows.map((row) => h("tr",
        h("td", h("span", { className: `dot ${health(row)}`, title: WORDS[health(row)] }), h("strong", row.cluster)),
        h("td", row.sink), h("td.dim", row.signal),
        count(row.received, ""), count(row.delivered, ""), count(row.rejected, "warn"), count(row.missing, "bad"),
        h("td.number", { className: row.duplicated ? "number" : "number zero", title: "Came twice through the log, delivered once" }, whole(row.duplicated)),
        h("td.number", row.rate === null ? "–" : `${short(row.rate)}/s`),
        h("td.number", { className: `number ${row.lag_s > LATE_S ? "warn" : ""}` }, duration(row.lag_s)),
        h("td", spark(row.rates))))))));
}

const WORDS = { good: "Everything received is delivered", warn: "Refused items, or behind", bad: "Items are missing" };
const health = (row) => (row.missing ? "bad" : row.rejected || row.lag_s > LATE_S ? "warn" : "good");

function waiting(facts) {
  const any = facts.targets && facts.targets.up + facts.targets.down + facts.targets.unknown;
  return empty("No cluster yet",
    any ? "Targets are known; their first samples are on the way." : h("p", "No target is scraped: give ", h("code", "pronoia up"), " a configuration with scrape_configs, or point a sender's remote_write at the gateway."),
    h("p", h("a", { href: "#/targets" }, "See targets")));
}

function troubles(facts) {
  const lines = [];
  for (const [name, reason] of Object.entries(facts.parts)) if (reason) lines.push([name, reason]);
  for (const sink of (facts.status && facts.status.sinks) || []) {
    for (const entry of sink.retrying) lines.push([`${sink.name} (${entry.cluster})`, entry.reason]);
    for (const reason of sink.stuck) lines.push([sink.name, reason]);
  }
  const parts = Object.entries(facts.parts);
  const strip = parts.length ? h("ul.parts", parts.map(([name, reason]) => h("li", h("span", { className: `dot ${reason ? "warn" : "good"}` }), name, h("span.dim", reason ? " not ready" : " ready")))) : null;
  if (!strip && !lines.length) return null;
  return h("section.panel", h("h2", "Parts"), strip,
    lines.length ? h("dl.troubles", lines.map(([name, reason]) => [h("dt", name), h("dd", reason)])) : null);
}
