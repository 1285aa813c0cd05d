/** Lines over time, drawn by uPlot in the page's colours, and told in words to who cannot see them. */

import { el, fill, say } from "./dom.js";
import { clock } from "./format.js";

const uPlot = /** @type {any} */ (globalThis).uPlot;
const HEIGHT = 150; // CSS pixels
const BRIEF = 300; // seconds that want seconds on the axis
const DASHES = [[], [6, 3], [2, 3]]; // lines are told apart without colour too

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {string} colour a custom property of the style
 * @property {boolean} [fill]
 */

/** A drawing with a title, a legend that follows the pointer, and an axis in words. */
export class Chart {
  #lines;
  #format;
  #top;
  #title;
  #holder = el("div", { class: "plot" });
  #legend;
  #values;
  /** @type {any} */
  #plot = null;
  #columns = [[]];
  #range = [0, 1];

  /**
   * @param {string} title
   * @param {Line[]} lines
   * @param {{format: (value: number|null) => string, top?: number}} more
   */
  constructor(title, lines, { format, top }) {
    this.#lines = lines;
    this.#format = format;
    this.#top = top;
    this.#title = el("h3", {}, title);
    this.#values = lines.map(() => el("b", {}, "–"));
    this.#legend = lines.map((line, at) =>
      el("span", { class: `line line${at} ${line.colour}` }, line.name, " ", this.#values[at]),
    );
    this.#holder.setAttribute("role", "img");
    this.element = el(
      "section",
      { class: "card chart" },
      el("div", { class: "legend" }, this.#title, el("span", { class: "lines" }, this.#legend)),
      this.#holder,
    );
    new ResizeObserver(() => this.#fit()).observe(this.#holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#make());
  }

  /**
   * @param {Array<Array<number|null>>} columns times in seconds, and the values of each line
   * @param {[number, number]} range from when to when
   */
  draw(columns, range) {
    this.#columns = columns;
    this.#range = range;
    if (!this.#plot) this.#make();
    else this.#plot.setData(columns);
    this.#tell(null);
    const told = this.#lines.map((line, at) => `${line.name} ${this.#format(latest(columns[at + 1]))}`);
    const label = `${this.#title.textContent}: ${told.join(", ")} now`;
    if (this.#holder.getAttribute("aria-label") !== label) this.#holder.setAttribute("aria-label", label);
  }

  #make() {
    this.#plot?.destroy();
    fill(this.#holder);
    const width = this.#holder.clientWidth;
    if (!width) return;
    this.#plot = new uPlot(this.#options(width), this.#columns, this.#holder);
  }

  #fit() {
    const width = this.#holder.clientWidth;
    if (!this.#plot) this.#make();
    else if (width && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }

  /** @param {number} width */
  #options(width) {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: colour("soft"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
    };
    const top = this.#top;
    return {
      width,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { range: () => this.#range },
        y: {
          range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number|null} */ most) => [
            0,
            top ?? ceiling(most),
          ],
        },
      },
      axes: [
        {
          ...axis,
          size: 22,
          space: 80,
          values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((v) => this.#time(v)),
        },
        {
          ...axis,
          size: 58,
          space: 36,
          values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((v) => this.#format(v)),
        },
      ],
      series: [
        {},
        ...this.#lines.map((line, at) => ({
          stroke: colour(line.colour),
          width: 1.75,
          dash: DASHES[at],
          fill: line.fill ? `${colour(line.colour)}22` : undefined,
          points: { show: true, size: 4, filter: alone },
          spanGaps: false,
        })),
      ],
      hooks: { setCursor: [(/** @type {any} */ plot) => this.#tell(plot.cursor.idx ?? null)] },
    };
  }

  /** @param {number} at */
  #time(at) {
    return this.#range[1] - this.#range[0] < BRIEF ? clock(at) : clock(at).slice(0, 5);
  }

  /** @param {number|null} index what the pointer is at; null tells the newest */
  #tell(index) {
    this.#values.forEach((value, at) => {
      const column = this.#columns[at + 1] ?? [];
      say(value, this.#format(index === null ? latest(column) : column[index]));
    });
  }
}

/**
 * What no line leads to is drawn as a point.
 * @param {any} plot
 * @param {number} series
 */
function alone(plot, series) {
  const column = plot.data[series];
  const there = (/** @type {number} */ at) => column[at] !== null && column[at] !== undefined;
  return [...column.keys()].filter((at) => there(at) && !there(at - 1) && !there(at + 1));
}

/** @param {Array<number|null>} column */
function latest(column) {
  return column?.findLast((value) => value !== null) ?? null;
}

/** @param {number|null} most */
function ceiling(most) {
  return most ? most * 1.1 : 1;
}
