/** The view that is open all day: how much is answered from store, how fast, what it saves, and what it misses. */

import { badges } from "./badges.js";
import { badge, el, fill, say } from "./dom.js";
import { Drawings } from "./drawings.js";
import { bytes, milliseconds, number, percent, plural, span } from "./format.js";
import { listings } from "./listings.js";
import { locked } from "./locked.js";
import * as rows from "./rows.js";
import { Trend, quantile, share } from "./trend.js";

const LIVE = 600; // seconds that the live lines go back
const NOW = 60; // seconds that a figure of now sums up
const LOST = 10; // URLs that are named
const RANGES = {
  live: { text: "Live", words: "since the start", seconds: LIVE, minutes: 1, live: true },
  "1h": { text: "1 h", words: "in the last hour", seconds: 3600, minutes: 1, live: false },
  "24h": { text: "24 h", words: "in the last day", seconds: 86_400, minutes: 10, live: false },
};

/** @typedef {keyof typeof RANGES} Range */

export class Overview {
  title = "Overview";
  /** @type {Range} */
  #range = "live";
  #trend = new Trend(LIVE);
  #feed;
  #reasons;
  /** @type {import("./feed.js").State|null} */
  #state = null;
  #parts;
  #ranges;
  #drawings = new Drawings();
  #tables = listings();
  #periods = [];
  #lock;

  /**
   * @param {import("./feed.js").Feed} feed
   * @param {Record<string, any>} reasons
   * @param {() => void} unlock
   */
  constructor(feed, reasons, unlock) {
    this.#feed = feed;
    this.#reasons = reasons;
    this.#build(unlock);
  }

  /** @param {import("./feed.js").State} state */
  take(state) {
    this.#state = state;
    if (state.live) this.#trend.add({ at: state.at, stats: state.stats });
    if (state.stats) this.#draw();
  }

  show() {}

  // -- parts

  /** @param {() => void} unlock */
  #build(unlock) {
    this.#parts = {
      badges: el("ul", { class: "badges", "aria-label": "State" }),
      ratio: tile("Hit ratio"),
      rate: tile("Requests"),
      time: tile("Answered in, p95"),
      saved: tile("Saved"),
    };
    const ranges = Object.entries(RANGES).map(([name, { text }]) =>
      el(
        "button",
        {
          type: "button",
          "aria-pressed": String(name === this.#range),
          value: name,
          onclick: () => this.#choose(/** @type {Range} */ (name)),
        },
        text,
      ),
    );
    this.#ranges = el("div", { class: "ranges", role: "group", "aria-label": "Time" }, ranges);
    this.#lock = locked("What is missed most is named to the token alone.", unlock);
    const { badges: row, ...tiles } = this.#parts;
    this.element = el(
      "div",
      { class: "overview" },
      el("div", { class: "head" }, el("h1", {}, "Overview"), this.#ranges),
      row,
      el(
        "div",
        { class: "tiles" },
        Object.values(tiles).map((each) => each.element),
      ),
      this.#drawings.element,
      el(
        "div",
        { class: "two" },
        card("Tiers", this.#tables.tiers, this.#period()),
        card("Upstreams", this.#tables.upstreams),
      ),
      card("Rules", this.#tables.rules, this.#period()),
      el(
        "div",
        { class: "two" },
        card("Why requests were not hits", this.#tables.reasons, this.#period(true)),
        card("Misses by upstream time lost", this.#tables.lost, el("span", {}, RANGES.live.words), this.#lock),
      ),
    );
  }

  /** @param {boolean} [history] whether it is told of the history alone */
  #period(history = false) {
    const element = el("span");
    this.#periods.push({ element, history });
    return element;
  }

  /** @param {Range} range */
  #choose(range) {
    this.#range = range;
    for (const button of this.#ranges.children) button.setAttribute("aria-pressed", String(button.value === range));
    this.#feed.range = range === "24h" ? "24h" : "1h";
    if (this.#state?.stats) this.#draw();
  }

  // -- figures

  #draw() {
    const { stats, window: found, draining, at, full } = this.#state;
    const window = found?.name === (this.#range === "24h" ? "24h" : "1h") ? found : null;
    const told = this.#range === "live" ? null : window;
    fill(
      this.#parts.badges,
      badges(stats, draining).map(({ how, text, why }) =>
        el("li", {}, badge(how, how === "good" || how === "off" ? text : `${text}: ${why}`, why)),
      ),
    );
    this.#figures(stats, told);
    const reach = RANGES[this.#range];
    if (window) this.#drawings.draw(window, this.#trend, at, reach);
    for (const { element, history } of this.#periods)
      say(element, words(history && reach.live ? RANGES["1h"] : reach, window));
    this.#tables.tiers.show(rows.tiers(stats, told));
    this.#tables.rules.show(rows.rules(stats, told));
    this.#tables.upstreams.show(rows.upstreams(stats));
    if (window) this.#tables.reasons.show(rows.reasons(window, this.#reasons));
    this.#tables.lost.element.hidden = !full;
    this.#lock.hidden = full;
    if (full) this.#tables.lost.show(stats.topMisses.slice(0, LOST));
  }

  /** @param {any} stats @param {any} window */
  #figures(stats, window) {
    const now = this.#trend.last(NOW);
    const { ratio, rate, time, saved } = this.#parts;
    const since = words(RANGES[this.#range], window);
    const recent = now && share(now.hits, now.misses);
    ratio.put(
      percent(window ? window.hitRate : (recent ?? stats.hitRate)),
      window ? since : recent === null ? "since the start" : `last minute; ${percent(stats.hitRate)} since the start`,
    );
    const requests = now ? (now.hits + now.misses + now.bypassed) / now.seconds : null;
    rate.put(
      `${number(requests)}/s`,
      `${number(window?.requests ?? stats.requests)} ${since}, ${number(stats.inFlight)} in flight`,
    );
    const times = now?.times.length ? now.times : stats.responseTimes;
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => milliseconds(quantile(times, q)));
    time.put(p95, `p50 ${p50}, p99 ${p99}, ${now?.times.length ? "last minute" : "since the start"}`);
    const sum = rows.saved(stats, window);
    const money = sum.money ? `, ${number(sum.money)} in money` : "";
    saved.put(plural(sum.calls, "call"), `${span(sum.seconds)} upstream, ${bytes(sum.bytes)}${money}, ${since}`);
  }
}

/**
 * Of when a figure is, and of whom: the history of who share a Redis is one.
 * @param {{words: string, live: boolean}} reach
 * @param {any} window
 */
function words(reach, window) {
  return reach.words + (!reach.live && window?.shared ? ", on all instances" : "");
}

/** @param {string} name */
function tile(name) {
  const [value, more] = [el("p", { class: "value" }, "–"), el("p", { class: "more" })];
  return {
    element: el("section", { class: "card tile" }, el("h2", {}, name), value, more),
    /** @param {string} figure @param {string} words */
    put(figure, words) {
      say(value, figure);
      say(more, words);
    },
  };
}

/**
 * @param {string} title
 * @param {import("./table.js").Table} table
 * @param {HTMLElement} [period] of what it tells
 * @param {HTMLElement} [more]
 */
function card(title, table, period, more) {
  return el("section", { class: "card" }, el("h2", {}, title, period && " ", period), table.element, more);
}
