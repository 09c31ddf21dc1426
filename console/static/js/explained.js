// One target's way from what was discovered, rule by rule, to what it becomes.

import { h, marked } from "./dom.js";
import { clip, whole } from "./format.js";

const KEEPING = new Set(["keep", "drop", "keepequal", "dropequal"]);
const LONG = 2000;
const DEFAULTS = { separator: ";", regex: "(.*)", replacement: "$1" };

/** Build the panel; `data` is the answer of /api/v1/targets/explain, null while it is asked for. */
export function explanation(data, words) {
  if (!data) return h("p.note", "Asking …");
  if (data.error) return h("p.note.bad", data.error);
  const last = data.state === "dropped" ? data.rule : data.steps.length - 1;
  const idle = data.steps.length - 1 - last;
  return h("div.explained",
    h("section", h("h3", "Discovered"), labelList(data.discoveredLabels, words)),
    h("section", h("h3", "relabel_configs"),
      data.steps.length ? h("ol.steps", { start: 0 }, data.steps.slice(0, last + 1).map((step, number) => stepOf(step, number, words))) : h("p.dim", "The job has no rules: all labels but those that begin with __ stay."),
      idle ? h("p.dim", `${whole(idle)} more ${idle === 1 ? "does" : "do"} not run.`) : null),
    h("section", h("h3", data.labels ? "Becomes" : data.path === undefined ? "Is not scraped" : "Is not read"), outcome(data, words)));
}

function outcome(data, words) {
  const parts = [];
  if (!data.labels) parts.push(h("p.verdict-line.bad", ...(data.rule === null ? marked(data.reason, words) : [`Rule ${data.rule} drops it.`])));
  if (data.state === "duplicate") parts.push(h("p.verdict-line.warn", "Found twice: the other one is scraped."));
  if (data.labels) parts.push(h("p.url", ...marked(clip(data.path === undefined ? data.scrapeUrl : data.path, LONG), words)), labelList(data.labels, words));
  const alike = data.sameLabels || []; // of logs nobody asks: several files may well share labels
  if (alike.length && data.state !== "duplicate") {
    parts.push(h("p.verdict-line.warn", `${whole(data.sameLabelsCount)} other ${data.sameLabelsCount === 1 ? "target has" : "targets have"} the same labels:`));
  }
  parts.push(alike.length ? h("ul.same", alike.map((other) => h("li", h("strong", other.scrapePool), " ", ...marked(other.scrapeUrl, words), h("div.dim", difference(other.discoveredLabels, data.discoveredLabels))))) : null);
  return parts;
}

/** What another target was discovered with that this one was not. */
function difference(other, own) {
  const more = Object.entries(other).filter(([name, value]) => own[name] !== value).map(([name, value]) => `${name}=${clip(value, LONG)}`);
  return more.length ? `discovered with ${more.join(", ")}` : "discovered with the same labels";
}

function stepOf(step, number, words) {
  const { action, ...rest } = step.rule;
  const given = Object.entries(rest).filter(([name, value]) => value !== DEFAULTS[name]);
  const kind = !step.keep ? "drops" : step.changes.length ? "changes" : "idle";
  return h("li", { className: `step ${kind}` },
    h("div.rule", h("span.number-of", String(number)), spaced([h("span.action", action), ...given.map(([name, value]) => h("span.given", h("span.dim", `${name}=`), ...marked(Array.isArray(value) ? value.join(", ") : String(value), words)))])),
    step.changes.map(changeOf),
    step.changes.length && step.keep ? null : h("div.effect", !step.keep ? h("strong", "drops the target") : h("span.dim", KEEPING.has(action) ? "keeps it" : "changes nothing"),
      step.rule.source_labels ? h("span.dim", " · looked at ", h("code", JSON.stringify(clip(step.value, LONG)))) : null));
}

function changeOf({ label, from, to }) {
  const kind = from === null ? "added" : to === null ? "removed" : "changed";
  const sign = { added: "+", removed: "−", changed: "~" }[kind];
  const values = [from === null ? null : h("del", clip(from, LONG)), from !== null && to !== null ? h("span.dim", "→") : null, to === null ? null : h("ins", clip(to, LONG))];
  return h("div", { className: `effect ${kind}` }, spaced([h("span.sign", { "aria-label": kind }, sign), h("code", clip(label, LONG)), ...values]));
}

/** Put spaces between parts, for whoever copies them or has them read. */
const spaced = (parts) => parts.filter(Boolean).flatMap((part, number) => (number ? [" ", part] : [part]));

const labelList = (labels, words) => h("dl.labels", Object.entries(labels).map(([name, value]) => [h("dt", ...marked(clip(name, LONG), words)), h("dd", ...marked(clip(value, LONG), words))]));
