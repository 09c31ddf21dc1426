// Which labels narrow the search: what is chosen as chips, and a picker of names and values.

import { empty, h, show } from "./dom.js";
import { whole } from "./format.js";

const TYPING_MS = 120;

/** Draw filters in a place. `on.changed(match)` is told of new ones, `on.ask(path, parameters)` asks for values. */
export function filters(place, on) {
  let match = [];
  let panel = null;

  function draw(now) {
    match = now;
    show(place,
      match.map(([name, operator, value], n) => h("span.chip.filter",
        h("button.operator", { type: "button", title: "Turn around", onclick: () => on.changed(match.map((one, k) => (k === n ? [name, operator === "=" ? "!=" : "=", value] : one))) }, h("span.dim", name), ` ${operator} `, value),
        h("button.remove", { type: "button", "aria-label": `Remove ${name}${operator}${value}`, onclick: () => on.changed(match.filter((_, k) => k !== n)) }, "×"))),
      h("button.toggle", { type: "button", id: "add-filter", "aria-haspopup": "dialog", "aria-expanded": String(Boolean(panel)), onclick: () => (panel ? close() : open()) }, match.length ? "Filter +" : "Filter by label"),
      panel);
  }

  function close() {
    panel = null;
    document.removeEventListener("mousedown", outside);
    draw(match);
    place.querySelector("#add-filter").focus();
  }

  function outside(event) {
    if (panel && !place.contains(event.target)) close();
  }

  async function open() {
    panel = h("div.picker", { role: "dialog", "aria-label": "Filter by label", onkeydown: keyed }, h("p.note", "…"));
    document.addEventListener("mousedown", outside);
    draw(match);
    try {
      const { names } = await on.ask("labels", { match: JSON.stringify(match) });
      const free = Object.entries(names).filter(([name, count]) => count > 1 || !match.some((one) => one[0] === name));
      fill(free.length ? free.map(([name, count]) => h("button.option", { type: "button", "data-name": name, onclick: () => values(name) }, h("span", name), h("span.count", whole(count)))) : empty("No labels", "Nothing is stored yet."));
    } catch (error) {
      fill(h("p.note.bad", error.message));
    }
  }

  function fill(...content) {
    if (!panel) return;
    show(panel, ...content);
    (panel.querySelector("input") || panel.querySelector("button"))?.focus();
  }

  async function values(name) {
    let typing = 0;
    const listed = h("div.options");
    // Values of a label that is filtered by already are those beside its filter, too.
    const others = JSON.stringify(match.filter((one) => one[0] !== name));
    const ask = async () => {
      const { values: found, total } = await on.ask("values", { name, find: input.value, match: others });
      show(listed,
        found.map((value) => h("button.option", { type: "button", "data-value": value, onclick: () => { panel = null; on.changed([...match, [name, "=", value]]); } }, value || "(empty)")),
        found.length ? null : h("p.note", "No such value."),
        total > found.length ? h("p.note", `${whole(total - found.length)} more: type to find them.`) : null);
    };
    const input = h("input", { type: "text", placeholder: `Value of ${name}`, "aria-label": `Value of ${name}`, oninput: () => { clearTimeout(typing); typing = setTimeout(ask, TYPING_MS); } });
    fill(input, listed);
    await ask();
  }

  function keyed(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = [...panel.querySelectorAll("input, button.option")];
      event.preventDefault();
      all[all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
    } else if (event.key === "Enter" && event.target.matches("input")) {
      panel.querySelector("button.option")?.click();
    }
  }

  return { draw };
}
