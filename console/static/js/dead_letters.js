// What sinks refused for good, newest first, with their own words.

import { get } from "./api.js";
import { empty, h, marked, show } from "./dom.js";
import { time, whole } from "./format.js";

/** Build the page. */
export function deadLetters(place) {
  let data = null;
  const search = h("input", { type: "search", placeholder: "Filter by cluster, sink or reason", "aria-label": "Filter dead letters", oninput: () => draw() });
  const body = h("div");
  place.append(h("div.bar", h("h1", "Dead letters"), h("label.search", search, h("kbd", "/"))), body);

  function draw() {
    if (!data) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = data.rows.filter((row) => words.every((word) => [row.cluster, row.sink, row.signal, row.reason, row.status, row.id].join("\n").toLowerCase().includes(word)));
    if (!data.total) {
      show(body, empty("No dead letters", h("p", "No sink has refused anything. What one refuses for good is kept here with its reason, and ", h("code", "pronoia dead-letters redrive"), " sends it again.")));
      return;
    }
    show(body, h("section.panel",
      h("div.scroll", h("table", h("thead", h("tr", h("th", "When"), h("th", "Cluster"), h("th", "Sink"), h("th", "Signal"), h("th.number", "Items"), h("th.number", "Status"), h("th", "Reason"), h("th", "Id"))),
        h("tbody", rows.map((row) => h("tr",
          h("td.nowrap", time(row.at_ms / 1000)), h("td", row.cluster), h("td", row.sink), h("td.dim", row.signal),
          h("td.number", row.items ? whole(row.items) : "–"), h("td.number", row.status || "–"),
          h("td.reason", ...marked(row.reason, words)), h("td", h("code", row.id))))))),
      data.total > data.rows.length ? h("p.note", `The newest ${whole(data.rows.length)} of ${whole(data.total)}; `, h("code", "pronoia dead-letters list"), " has all.") : null,
      rows.length ? null : h("p.note", "None of these matches.")),
    h("p.note", h("code", "pronoia dead-letters show ID"), " prints what is inside; ", h("code", "pronoia dead-letters redrive"), " sends it again."));
  }

  return {
    refresh: async () => {
      data = await get("console/dead-letters");
      draw();
    },
  };
}
