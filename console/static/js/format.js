// Numbers, times and units as people read them.

const WHOLE = new Intl.NumberFormat("en-US");
const SI = ["", "k", "M", "G", "T", "P"];
const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1234567 → "1,234,567". */
export const whole = (number) => WHOLE.format(number);

/** Three significant digits with a prefix: 12345 → "12.3k". */
export function short(number) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size !== 0 && size < 0.001) return number.toExponential(1);
  let power = 0;
  while (size / 1000 ** power >= 999.5 && power < SI.length - 1) power += 1;
  return trim(number / 1000 ** power) + SI[power];
}

function trim(number) {
  const size = Math.abs(number);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return String(Number(number.toFixed(digits)));
}

/** The beginning of a text that is longer than `most`, and how long it is. */
export const clip = (text, most) => (text.length > most ? `${text.slice(0, most)}… (${whole(text.length)} characters)` : text);

/** 1536 → "1.5 KiB". */
export function bytes(number) {
  if (number === null || number === undefined) return "–";
  let power = 0;
  while (Math.abs(number) / 1024 ** power >= 1023.5 && power < IEC.length - 1) power += 1;
  return `${trim(number / 1024 ** power)} ${IEC[power]}`;
}

/** Seconds as a duration of at most two units: 3725 → "1h 2m". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${trim(seconds * 1e6)} µs`;
  if (size < 1) return `${trim(seconds * 1e3)} ms`;
  if (size < 60) return `${trim(seconds)} s`;
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => size >= length);
  const out = [];
  let rest = Math.round(size);
  for (const [name, length] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count) out.push(`${count}${name}`);
  }
  return (seconds < 0 ? "−" : "") + out.join(" ");
}

/** How long ago a time (Unix seconds) was. */
export function ago(at, now) {
  if (!at || at < 0) return "never";
  const passed = Math.max(0, now - at);
  return passed < 1 ? "just now" : `${duration(passed < 60 ? Math.round(passed) : passed)} ago`;
}

/** A time of day, with the date when it is not today. */
export function time(at) {
  const date = new Date(at * 1000);
  const clock = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? clock : `${date.toLocaleDateString("en-CA")} ${clock}`;
}

/** Whether numbers written so look rounder on an axis at powers of two. */
export const binary = (format) => format === bytes || format === bytesPerSecond;

const perSecond = (value) => `${short(value)}/s`;
const bytesPerSecond = (value) => `${bytes(value)}/s`;
const secondsPerSecond = (value) => `${short(value)} s/s`;

/** What a metric's values are, judged from its name: how to write them, on an axis and in a table. */
export function unit(name, rate) {
  const base = (name || "").replace(/_(total|sum|bucket|count)$/, "");
  if (/_(count|bucket)$/.test(name)) return rate ? perSecond : short;
  if (/(^|_)bytes$/.test(base)) return rate ? bytesPerSecond : bytes;
  if (/_(timestamp|boot_time|start_time)_seconds$|^node_time_seconds$/.test(base)) return rate ? secondsPerSecond : exact;
  if (/_seconds$/.test(base)) return rate ? secondsPerSecond : duration;
  return rate ? perSecond : short;
}

/** Every digit, where digits matter: times as numbers. */
export function exact(value) {
  return value === null || value === undefined ? "–" : String(Number(value.toFixed(3)));
}

const quoted = (value) => `"${value.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;

/** Labels without the name and without those in `shared`, as a selector writes them. */
export function labelText(labels, shared = {}) {
  return Object.entries(labels).filter(([name]) => name !== "__name__" && !(name in shared)).map(([name, value]) => `${name}=${quoted(value)}`).join(", ");
}
