// How many entries there were when: bars by level. A click zooms into a bar, a drag over several into all of them.

import { h, show, svg } from "./dom.js";
import { short, time, whole } from "./format.js";

const HEIGHT = 84;
const ORDER = ["critical", "error", "warn", "info", "debug", "trace", ""]; // from the bottom

/** Draw in a place; `on.zoom(from, to)` is told of a stretch in Unix milliseconds. */
export function histogram(place, on) {
  let data = null;
  let first = null;
  let focused = 0;
  const said = h("p.tip", { role: "status" });
  const image = svg("svg.histogram", { height: HEIGHT, preserveAspectRatio: "none", tabindex: "0", role: "slider", "aria-label": "Lines over time: arrows move, Enter zooms" });
  const axis = h("div.axis");
  const most = h("span.most");
  place.append(most, image, axis, said);
  const resized = new ResizeObserver(() => paint());
  resized.observe(place);

  const count = () => Math.max(1, Math.ceil((data.end - data.from) / data.step));
  const under = (event) => {
    const box = image.getBoundingClientRect();
    return Math.max(0, Math.min(count() - 1, Math.floor(((event.clientX - box.left) / box.width) * count())));
  };
  const zoom = (a, b) => on.zoom(Math.max(data.start, data.from + Math.min(a, b) * data.step), data.from + (Math.max(a, b) + 1) * data.step - 1);

  image.addEventListener("pointerdown", (event) => { if (data && event.button === 0) { first = under(event); image.setPointerCapture(event.pointerId); mark(first, first); } });
  image.addEventListener("pointermove", (event) => { if (data) { focused = under(event); tell(); mark(first ?? focused, focused); } });
  image.addEventListener("pointerleave", () => { if (first === null) { show(said); image.querySelector(".under")?.remove(); } });
  image.addEventListener("pointerup", (event) => { if (data && first !== null) { const from = first; first = null; zoom(from, under(event)); } });
  image.addEventListener("pointercancel", () => { first = null; });
  image.addEventListener("keydown", (event) => {
    if (!data) return;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) {
      event.preventDefault();
      focused = Math.max(0, Math.min(count() - 1, focused + move));
      tell();
      mark(focused, focused);
    } else if (event.key === "Enter") zoom(focused, focused);
  });

  function tell() {
    const at = data.from + focused * data.step;
    const counts = data.byStep.get(at);
    const parts = counts ? ORDER.map((level) => [level, counts[data.levels.indexOf(level)]]).filter(([, n]) => n).map(([level, n]) => `${whole(n)} ${level || "without level"}`) : ["none"];
    show(said, `${time(at / 1000)}: ${parts.join(", ")}`);
  }

  function mark(a, b) {
    image.querySelector(".under")?.remove();
    const width = image.clientWidth / count();
    image.prepend(svg("rect.under", { x: Math.min(a, b) * width, y: 0, width: (Math.abs(a - b) + 1) * width, height: HEIGHT }));
  }

  function paint() {
    if (!data) return;
    const width = image.clientWidth / count();
    const top = Math.max(1, ...data.steps.map(([, ...numbers]) => numbers.reduce((a, b) => a + b, 0)));
    const shapes = [];
    for (const [at, ...numbers] of data.steps) {
      let y = HEIGHT;
      for (const level of ORDER) {
        const n = numbers[data.levels.indexOf(level)];
        if (!n) continue;
        const height = Math.max(1, (n / top) * (HEIGHT - 4));
        y -= height;
        shapes.push(svg("rect", { class: `column ${level || "none"}`, x: (((at - data.from) / data.step) * width).toFixed(2), y: y.toFixed(2), width: Math.max(1, width - (width > 4 ? 1 : 0)).toFixed(2), height: height.toFixed(2) }));
      }
    }
    image.replaceChildren(...shapes);
    show(most, data.steps.length ? short(top) : "");
    const ticks = Math.max(2, Math.min(7, Math.floor(place.clientWidth / 170)));
    show(axis, Array.from({ length: ticks }, (_, n) => h("span", time((data.start + ((data.end - data.start) * n) / (ticks - 1)) / 1000))));
  }

  return {
    /** Draw counts: {start, end, step (ms), levels, steps: [[at, ...counts by level]]}. */
    draw(counts) {
      const from = counts.start - (counts.start % counts.step);
      data = { ...counts, from, byStep: new Map(counts.steps.map(([at, ...numbers]) => [at, numbers])) };
      if (first === null) paint();
    },
    close: () => resized.disconnect(),
  };
}
