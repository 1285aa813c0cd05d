/** The overview's lines: the last minutes look by look, an hour by minutes, a day by ten of them. */

import { Chart } from "./chart.js";
import { el } from "./dom.js";
import { milliseconds, number, percent } from "./format.js";
import { columns, over } from "./history.js";
import { quantile, share } from "./trend.js";

const SMOOTH = 10; // seconds that a point of the last minutes sums up
const LEAST = 60; // seconds that are drawn of a gateway that has just begun

/** @typedef {{seconds: number, minutes: number, live: boolean}} Reach how far back, and how much makes a point */

/** Four charts, of which three are to be seen. */
export class Drawings {
  #ratio = new Chart("Hit ratio", [{ name: "from store", colour: "hit", fill: true }], { format: percent, top: 1 });
  #rate = new Chart(
    "Requests a second",
    [
      { name: "hits", colour: "hit", fill: true },
      { name: "misses", colour: "miss" },
      { name: "uncached", colour: "other" },
    ],
    { format: number },
  );
  #time = new Chart(
    "Answered in",
    [
      { name: "p50", colour: "hit" },
      { name: "p95", colour: "miss" },
      { name: "p99", colour: "other" },
    ],
    { format: milliseconds },
  );
  #upstream = new Chart("Upstream time a second", [{ name: "at work", colour: "miss", fill: true }], {
    format: (value) => milliseconds(value && value * 1000),
  });

  constructor() {
    this.#upstream.element.hidden = true;
    const all = [this.#ratio, this.#rate, this.#time, this.#upstream];
    this.element = el(
      "div",
      { class: "charts" },
      all.map((each) => each.element),
    );
  }

  /**
   * @param {any} window of the history
   * @param {import("./trend.js").Trend} trend
   * @param {number} now in seconds
   * @param {Reach} reach
   */
  draw(window, trend, now, { seconds, minutes, live }) {
    const own = live && window.shared ? { series: [] } : window; // live is of this instance alone
    const past = over(columns(own, minutes), minutes, now);
    const shown = live ? { ...past, ...joined(past, trend) } : { ...past, p50: [], p95: [], p99: [] };
    const first = Math.min(shown.at[0] ?? now, now - Math.max(LEAST, minutes > 1 ? 60 * minutes : 0));
    /** @type {[number, number]} */
    const range = [Math.max(now - seconds, first), now];
    this.#ratio.draw([shown.at, shown.ratio], range);
    this.#rate.draw([shown.at, shown.hits, shown.misses, shown.bypassed], range);
    this.#time.element.hidden = !live;
    this.#upstream.element.hidden = live;
    if (live) this.#time.draw([shown.at, shown.p50, shown.p95, shown.p99], range);
    else this.#upstream.draw([shown.at, shown.upstream], range);
  }
}

/**
 * What was looked at since the page is open, after what is known of the time before.
 * @param {import("./history.js").Columns} past
 * @param {import("./trend.js").Trend} trend
 */
function joined(past, trend) {
  const points = trend.points(SMOOTH);
  const first = trend.since ?? Infinity;
  const before = past.at.map((at) => at + 30 <= first);
  const after = (own, column) => [...column.filter((_, index) => before[index]), ...points.map(own)];
  const none = past.at.map(() => null);
  const aSecond =
    (name) =>
    ({ change }) =>
      change[name] / change.seconds;
  const within =
    (q) =>
    ({ change }) =>
      quantile(change.times, q);
  return {
    at: after(({ at }) => at, past.at),
    ratio: after(({ change }) => share(change.hits, change.misses), past.ratio),
    hits: after(aSecond("hits"), past.hits),
    misses: after(aSecond("misses"), past.misses),
    bypassed: after(aSecond("bypassed"), past.bypassed),
    p50: after(within(0.5), none),
    p95: after(within(0.95), none),
    p99: after(within(0.99), none),
  };
}
