/** Minutes of the gateway's history as columns that can be drawn. Pure. */

import { share } from "./trend.js";

const MINUTE = 60;

/**
 * Lines over time: calls a second, shares of one; null where nothing is known.
 * @typedef {object} Columns
 * @property {number[]} at the middle of each, in seconds
 * @property {Array<number|null>} ratio
 * @property {Array<number|null>} hits
 * @property {Array<number|null>} misses
 * @property {Array<number|null>} bypassed
 * @property {Array<number|null>} upstream seconds of upstream time in each second
 */

/**
 * @param {any} window of /stats
 * @param {number} minutes that make one point
 * @returns {Columns} minutes without traffic are nought
 */
export function columns(window, minutes) {
  const step = minutes * MINUTE;
  const points = new Map();
  for (const point of window.series) {
    const at = Math.floor(point.at / step) * step;
    const sum = points.get(at) ?? { hits: 0, misses: 0, bypassed: 0, upstreamSeconds: 0 };
    for (const name of Object.keys(sum)) sum[name] += point[name];
    points.set(at, sum);
  }
  const made = { at: [], ratio: [], hits: [], misses: [], bypassed: [], upstream: [] };
  const last = Math.max(...points.keys());
  for (let at = Math.min(...points.keys()); at <= last; at += step) {
    const sum = points.get(at) ?? { hits: 0, misses: 0, bypassed: 0, upstreamSeconds: 0 };
    made.at.push(at + step / 2);
    made.ratio.push(share(sum.hits, sum.misses));
    made.hits.push(sum.hits / step);
    made.misses.push(sum.misses / step);
    made.bypassed.push(sum.bypassed / step);
    made.upstream.push(sum.upstreamSeconds / step);
  }
  return made;
}

/**
 * Without the point that is not over yet, whose rates would seem to fall.
 * @param {Columns} all
 * @param {number} minutes of one point
 * @param {number} now in seconds
 * @returns {Columns}
 */
export function over(all, minutes, now) {
  const open = all.at.length > 1 && all.at.at(-1) + (minutes * MINUTE) / 2 > now;
  const cut = Object.entries(all).map(([name, column]) => [name, column.slice(0, -1)]);
  return open ? /** @type {Columns} */ (Object.fromEntries(cut)) : all;
}
