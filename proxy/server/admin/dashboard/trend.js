/** Statistics taken again and again: what changed between two of them. Pure. */

const HITS = ["HIT", "STALE", "UPDATING", "REVALIDATED"];
const MISSES = ["MISS", "EXPIRED"];
const RATIO = 2 ** 0.25; // of the bounds of neighbouring buckets, as the gateway has them

/**
 * What happened between two looks.
 * @typedef {object} Change
 * @property {number} seconds
 * @property {number} hits
 * @property {number} misses
 * @property {number} bypassed
 * @property {Array<[number, number]>} times upper bound in milliseconds, how many; ascending
 */

/** @typedef {{at: number, stats: any}} Look `at` in seconds */

/** @param {number} part @param {number} rest @returns {number|null} null of nothing */
export function share(part, rest) {
  return part + rest > 0 ? part / (part + rest) : null;
}

/** @param {any} stats @param {string[]} names */
const sum = (stats, names) => names.reduce((all, name) => all + (stats.verdicts[name] ?? 0), 0);

/**
 * @param {any} stats
 * @returns {{hits: number, misses: number, bypassed: number}}
 */
export function outcomes(stats) {
  return { hits: sum(stats, HITS), misses: sum(stats, MISSES), bypassed: sum(stats, ["BYPASS"]) };
}

/**
 * Whether the second look is at another life of the gateway: it counts from nothing then.
 * @param {any} before @param {any} after
 */
export function restarted(before, after) {
  return after.uptime < before.uptime || after.requests < before.requests;
}

/**
 * @param {Look} before
 * @param {Look} after of the same life
 * @returns {Change}
 */
export function change(before, after) {
  const [was, is] = [outcomes(before.stats), outcomes(after.stats)];
  const seen = new Map(before.stats.responseTimes);
  const times = after.stats.responseTimes.map(([bound, count]) => [bound, count - (seen.get(bound) ?? 0)]);
  return {
    seconds: after.at - before.at,
    hits: is.hits - was.hits,
    misses: is.misses - was.misses,
    bypassed: is.bypassed - was.bypassed,
    times: times.filter(([, count]) => count > 0),
  };
}

/**
 * @param {Array<[number, number]>} times as in Change
 * @param {number} q a share of one
 * @returns {number|null} milliseconds within which that share lies; null of nothing
 */
export function quantile(times, q) {
  const wanted = q * times.reduce((all, [, count]) => all + count, 0);
  let below = 0;
  for (const [bound, count] of times) {
    if (below + count >= wanted) {
      const low = bound / RATIO;
      return low + (bound - low) * (count ? (wanted - below) / count : 1);
    }
    below += count;
  }
  return null;
}

/** The looks of the last `kept` seconds, all of one life. */
export class Trend {
  /** @type {Look[]} */
  #looks = [];
  #kept;

  /** @param {number} kept seconds */
  constructor(kept) {
    this.#kept = kept;
  }

  /** @param {Look} look */
  add(look) {
    const last = this.#looks.at(-1);
    if (last && restarted(last.stats, look.stats)) this.#looks = [];
    this.#looks.push(look);
    while (this.#looks[0].at < look.at - this.#kept) this.#looks.shift();
  }

  /** @returns {number|null} when the first look was */
  get since() {
    return this.#looks[0]?.at ?? null;
  }

  /**
   * @param {number} seconds
   * @returns {Change|null} in the last so many, or as many as are known
   */
  last(seconds) {
    return this.#until(this.#looks.length - 1, seconds);
  }

  /**
   * Each look with what happened in the `seconds` before it.
   * @param {number} seconds
   * @returns {Array<{at: number, change: Change}>}
   */
  points(seconds) {
    return this.#looks.flatMap(({ at }, index) => {
      const found = this.#until(index, seconds);
      return found ? [{ at, change: found }] : [];
    });
  }

  /** @param {number} index @param {number} seconds */
  #until(index, seconds) {
    const after = this.#looks[index];
    if (!after) return null;
    let first = index;
    while (first > 0 && after.at - this.#looks[first - 1].at <= seconds + 0.5) first -= 1;
    return first < index ? change(this.#looks[first], after) : null;
  }
}
