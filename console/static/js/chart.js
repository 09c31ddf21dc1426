// The chart: uPlot in the page's own colours, one line a series, gaps where there are no samples.

import { binary } from "./format.js";

const HEIGHT = 340;
const COLOURS = 10;
const POWERS_OF_TWO = Array.from({ length: 60 }, (_, n) => 2 ** n);

/** Draw into a place. `on` is told of a zoom (from, to), of its reset, and of the point under the cursor (or null). */
export function plot(place, on) {
  let drawing = null;
  let shown = null;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const again = () => { if (shown) { destroy(); draw(shown); } };
  const resized = new ResizeObserver(() => { if (drawing && place.clientWidth) drawing.setSize({ width: place.clientWidth, height: HEIGHT }); });
  dark.addEventListener("change", again);
  resized.observe(place);

  function destroy() {
    drawing?.destroy();
    drawing = null;
  }

  /** Draw {times, lines: [{values, shown}], range: [from, to], format}; values are null in gaps. */
  function draw(next) {
    const same = drawing && shown && shown.lines.length === next.lines.length && shown.format === next.format
      && shown.lines.every((line, n) => line.shown === next.lines[n].shown);
    shown = next;
    const data = [next.times, ...next.lines.map((line) => line.values)];
    if (same) {
      drawing.setData(data, false);
      drawing.setScale("x", { min: next.range[0], max: next.range[1] });
      return;
    }
    destroy();
    drawing = new window.uPlot(options(next), data, place);
    drawing.over.addEventListener("dblclick", on.reset);
  }

  function options(next) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `11px ${colour("--font") || "sans-serif"}`;
    const axis = { stroke: colour("--dim"), font, grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1, size: 4 } };
    return {
      width: place.clientWidth || 600,
      height: HEIGHT,
      padding: [12, 30, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 7 }, drag: { x: true, y: false, setScale: false }, y: false },
      scales: { x: { time: true, range: () => shown.range }, y: { range: padded } },
      axes: [
        { ...axis, space: 70, values: clock },
        { ...axis, size: widest, ...(binary(next.format) ? { incrs: POWERS_OF_TWO } : {}), values: (_, splits) => splits.map((value) => (value === null ? "" : shown.format(value))) },
      ],
      series: [{}, ...next.lines.map((line, n) => ({
        show: line.shown,
        stroke: colour(`--c${n % COLOURS}`),
        width: 1.75,
        fill: next.lines.length === 1 ? `${colour(`--c${n % COLOURS}`)}22` : undefined,
        spanGaps: false,
        points: { show: false, filter: lonely, size: 5 },
      }))],
      hooks: {
        setSelect: [(u) => {
          if (u.select.width > 8) {
            const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            on.zoomed(Math.floor(from), Math.ceil(to));
          }
        }],
        setCursor: [(u) => on.hovered(u.cursor.left >= 0 && u.cursor.idx !== null && u.cursor.idx !== undefined ? u.cursor.idx : null)],
      },
    };
  }

  return { draw, clear: () => { destroy(); shown = null; }, close: () => { destroy(); resized.disconnect(); dark.removeEventListener("change", again); } };
}

/** Leave room above and below; a constant is drawn in the middle. */
function padded(_, low, high) {
  if (low === null || high === null) return [0, 1];
  if (low === high) return low === 0 ? [-1, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const room = (high - low) * 0.08;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

/** Room for the longest label of the y axis. */
function widest(u, labels) {
  const longest = (labels || []).reduce((most, label) => Math.max(most, label.length), 0);
  return Math.max(40, 14 + longest * 6.5);
}

/** Times of day; where a day begins, its date. */
function clock(_, splits, __, ___, step) {
  return splits.map((at) => {
    const date = new Date(at * 1000);
    if (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    return date.toLocaleTimeString("en-GB", step < 60 ? {} : { hour: "2-digit", minute: "2-digit" });
  });
}

/** Points are drawn only where a line does not show: at values with gaps on both sides. */
function lonely(u, line) {
  const values = u.data[line];
  const out = [];
  for (let n = 0; n < values.length; n += 1) {
    if (values[n] !== null && (values[n - 1] ?? null) === null && (values[n + 1] ?? null) === null) out.push(n);
  }
  return out.length ? out : null;
}
