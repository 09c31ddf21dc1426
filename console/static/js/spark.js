// A sparkline: how a value moved, newest at the right.

import { svg } from "./dom.js";

const WIDTH = 140;
const HEIGHT = 26;

const FEWEST = 12;

/** Draw numbers as a line above a shaded area, from the first one on; null is a gap. `top` is the least height. */
export function spark(all, top = 0) {
  const values = all.slice(Math.max(0, all.findIndex((value) => value !== null)));
  const most = Math.max(...values.filter((value) => value !== null), top, 0);
  const image = svg("svg.spark", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true", preserveAspectRatio: "none" });
  const step = WIDTH / (Math.max(values.length, FEWEST) - 1);
  const from = WIDTH - (values.length - 1) * step;
  const place = (value, n) => [(from + n * step).toFixed(1), (most ? HEIGHT - 2 - (value / most) * (HEIGHT - 4) : HEIGHT - 2).toFixed(1)];
  for (const [first, stretch] of stretches(values)) {
    const line = stretch.map((value, n) => place(value, first + n));
    const shape = line.map((at) => at.join(",")).join(" ");
    image.append(
      svg("polygon", { points: `${line[0][0]},${HEIGHT} ${shape} ${line[line.length - 1][0]},${HEIGHT}` }),
      svg("polyline", { points: shape, "vector-effect": "non-scaling-stroke" }),
    );
  }
  return image;
}

/** The stretches without a gap of at least two values: [index of the first, values]. */
function stretches(values) {
  const out = [];
  let first = 0;
  values.concat([null]).forEach((value, n) => {
    if (value !== null) return;
    if (n - first > 1) out.push([first, values.slice(first, n)]);
    first = n + 1;
  });
  return out;
}
