/** The figures, taken every other second: with a token or without, while Redis is down, and until the gateway goes. */

import { ask, hasToken, setToken } from "./api.js";

export const TICK = 2000; // milliseconds between two looks
const HISTORY = 10_000; // ... at the history
const MOST = 4000; // ... at a gateway that is gone

/**
 * @typedef {object} State
 * @property {any} stats the newest, null before the first
 * @property {any} window the newest of the history
 * @property {number} at when, in seconds
 * @property {boolean} live whether the last look succeeded
 * @property {number|null} gone since when none does, in seconds
 * @property {string} why what was said instead
 * @property {boolean} locked whether not even figures are to be had without the token
 * @property {boolean} full whether everything is to be had
 * @property {boolean} draining
 */

/** Looks again and again, and tells what it saw. */
export class Feed {
  /** @type {State} */
  state = {
    stats: null,
    window: null,
    at: 0,
    live: false,
    gone: null,
    why: "",
    locked: false,
    full: false,
    draining: false,
  };
  #range = "1h";
  #looked = { range: "", at: -Infinity };
  #tell;
  #failures = 0;
  #wake = () => {};

  /** @param {(state: State) => void} tell */
  constructor(tell) {
    this.#tell = tell;
  }

  /** @param {string} range of the history: 1h or 24h */
  set range(range) {
    this.#range = range;
    this.hurry();
  }

  /** Look at once. */
  hurry() {
    this.#looked.at = -Infinity;
    this.#wake();
  }

  async run() {
    for (;;) {
      await this.#look();
      this.#tell(this.state);
      const wait = this.#failures ? Math.min(TICK * 1.5 ** (this.#failures - 1), MOST) : TICK;
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
        setTimeout(resolve, wait);
      });
    }
  }

  async #look() {
    const now = Date.now() / 1000;
    const range = this.#range;
    const history = range !== this.#looked.range || now * 1000 - this.#looked.at * 1000 >= HISTORY;
    try {
      const [stats, ready] = await Promise.all([this.#stats(history ? range : ""), ask("ready", { accept: [503] })]);
      if (stats.window) this.#looked = { range, at: now };
      const { window: found, ...rest } = stats;
      Object.assign(this.state, {
        stats: rest,
        window: found ?? this.state.window,
        at: now,
        live: true,
        gone: null,
        why: "",
        locked: false,
        full: "topMisses" in stats,
        draining: ready.status === "draining",
      });
      this.#failures = 0;
    } catch (error) {
      this.#failed(error, now);
    }
  }

  /** @param {string} range "" for none: the history may be busy while figures are there */
  async #stats(range) {
    try {
      return await ask(range ? `stats?window=${range}` : "stats");
    } catch (error) {
      if (range && error.status === 503) return ask("stats");
      throw error;
    }
  }

  /** @param {import("./api.js").Refused} error @param {number} now */
  #failed(error, now) {
    if (error.status === 401 && hasToken()) setToken("");
    this.#failures += 1;
    const locked = Boolean(error.locked);
    const gone = locked ? null : (this.state.gone ?? now);
    Object.assign(this.state, { live: false, gone, why: error.message, locked, full: this.state.full && !locked });
  }
}
