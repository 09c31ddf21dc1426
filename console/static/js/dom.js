// Building elements. Text only ever enters as text: nothing in the console parses a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: h("p.note", {title: "…", onclick: f}, "text", child, …). Null children are left out. */
export function h(kind, ...rest) {
  const [tag, ...classes] = kind.split(".");
  return fill(document.createElement(tag || "div"), classes, rest);
}

/** Make an SVG element. */
export function svg(kind, ...rest) {
  const [tag, ...classes] = kind.split(".");
  return fill(document.createElementNS(SVG, tag), classes, rest);
}

function fill(element, classes, rest) {
  if (classes.length) element.classList.add(...classes);
  const given = rest[0];
  const plain = given !== null && typeof given === "object" && !(given instanceof Node) && !Array.isArray(given);
  if (plain) {
    rest = rest.slice(1);
    for (const [name, value] of Object.entries(given)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name in element && !(element instanceof SVGElement) && name !== "list") element[name] = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...rest.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children in place of what an element holds. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

/** An empty state: what it means, and what to do. */
export function empty(title, ...more) {
  return h("div.empty", h("h2", title), ...more.map((part) => (typeof part === "string" ? h("p", part) : part)));
}

/** Mark where words were found in a text; a long name may break after its underscores. */
export function marked(text, words) {
  return pieces(text, words).map((piece) => (typeof piece === "string" ? breakable(piece) : h("mark", breakable(piece.found))));
}

/** Mark where words were found in a text, and leave it as it is otherwise. */
export function highlighted(text, words) {
  return pieces(text, words).map((piece) => (typeof piece === "string" ? piece : h("mark", piece.found)));
}

function breakable(text) {
  return text.split(/(?<=[_:/])/).flatMap((part, n) => (n ? [h("wbr"), part] : [part]));
}

/** Cut a text into strings and, where words were found, {found}. */
function pieces(text, words) {
  const spans = [];
  const lower = text.toLowerCase();
  for (const word of words) {
    for (let at = lower.indexOf(word); word && at >= 0; at = lower.indexOf(word, at + word.length)) spans.push([at, at + word.length]);
  }
  // Lower case of some letters is longer than they are: then nothing is marked, rather than something wrong.
  if (!spans.length || lower.length !== text.length) return [text];
  spans.sort((a, b) => a[0] - b[0]);
  const out = [];
  let done = 0;
  for (const [from, to] of spans) {
    if (to <= done) continue;
    const start = Math.max(from, done);
    if (start > done) out.push(text.slice(done, start));
    out.push({ found: text.slice(start, to) });
    done = to;
  }
  if (done < text.length) out.push(text.slice(done));
  return out;
}
