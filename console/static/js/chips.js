// Labels as chips: some of many, those that tell one from others first.

import { h, marked } from "./dom.js";
import { clip } from "./format.js";

/** What every target has, and what tells targets apart. */
const COMMON = /^(job|__address__|__scheme__|__metrics_path__|__scrape_interval__|__scrape_timeout__|__[a-z_]+_(histograms|to_nhcb)__|__param_.*|__meta_filepath|__meta_url)$/;
const TELLING = /(name|namespace)$/;
const LONG = 200;

/** Labels that tell a target from others, the names first. */
export function telling(labels) {
  const own = Object.entries(labels).filter(([name]) => !COMMON.test(name));
  return Object.fromEntries([...own.filter(([name]) => TELLING.test(name)), ...own.filter(([name]) => !TELLING.test(name))]);
}

/** At most so many labels, those in which words are found first. */
export function chips(labels, words, most) {
  const all = Object.entries(labels);
  const found = ([name, value]) => words.some((word) => `${name}=${value}`.toLowerCase().includes(word));
  const some = all.length > most ? [...all.filter(found), ...all.filter((label) => !found(label))].slice(0, most) : all;
  return h("span.chips",
    some.map(([name, value]) => h("span.chip", h("span.dim", ...marked(clip(name, LONG), words), "="), ...marked(clip(value, LONG), words))),
    all.length > most ? h("span.dim", `+${all.length - most}`) : null);
}
