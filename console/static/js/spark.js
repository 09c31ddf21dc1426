// A sparkline: the rates of the last ten minutes, newest at the right.

import { svg } from "./dom.js";

const POINTS = 120;

/** Draw numbers as a line above a shaded area. */
export function spark(values, width = 120, height = 26) {
  const top = Math.max(...values, 0);
  const image = svg("svg.spark", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-hidden": "true" });
  if (values.length < 2) return image;
  const step = width / (POINTS - 1);
  const from = width - (values.length - 1) * step;
  const y = (value) => (top ? height - 2 - (value / top) * (height - 4) : height - 2).toFixed(1);
  const line = values.map((value, n) => `${(from + n * step).toFixed(1)},${y(value)}`).join(" ");
  image.append(
    svg("polygon", { points: `${from.toFixed(1)},${height} ${line} ${width},${height}` }),
    svg("polyline", { points: line }),
  );
  return image;
}
