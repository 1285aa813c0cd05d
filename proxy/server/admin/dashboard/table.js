/** Tables that are kept up to date in place: what has the focus, or is selected, stays where it is. */

import { el, say, scroller } from "./dom.js";
import { shown } from "./format.js";

/**
 * @typedef {object} Cell
 * @property {string} text
 * @property {string} [href]
 * @property {string} [title]
 * @property {string} [how] a class
 * @property {number} [bar] a share of one that is drawn behind
 */

/**
 * @typedef {object} Column
 * @property {string} name as its head says
 * @property {(row: any) => string|Cell|Cell[]} cell
 * @property {(row: any) => number|string} [by] what it can be sorted by
 * @property {boolean} [figure] to the right
 * @property {string} [title]
 */

/** One table with a caption, heads and, where it has columns that say `by`, an order of the reader's choice. */
export class Table {
  #columns;
  #id;
  #body = el("tbody");
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();
  /** @type {any[]} */
  #last = [];
  #order;
  #heads;
  #empty;

  /**
   * @param {string} caption
   * @param {Column[]} columns
   * @param {{id: (row: any) => string, empty?: string, order?: {at: number, down: boolean}|null}} more
   */
  constructor(caption, columns, { id, empty = "Nothing yet.", order = null }) {
    this.#columns = columns;
    this.#id = id;
    this.#order = order;
    this.#heads = columns.map((column, at) => this.#head(column, at));
    this.#empty = el("p", { class: "empty" }, empty);
    this.caption = el("caption", { class: "unseen" }, caption);
    const table = el("table", {}, this.caption, el("thead", {}, el("tr", {}, this.#heads)), this.#body);
    this.element = el("div", { class: "table" }, scroller(caption, table), this.#empty);
    this.#mark();
  }

  /** @param {any[]} rows */
  show(rows) {
    this.#last = rows;
    const ids = new Set();
    this.#sorted(rows).forEach((row, place) => {
      const id = this.#id(row);
      ids.add(id);
      const made = this.#rows.get(id) ?? this.#made(id);
      this.#columns.forEach((column, at) => put(/** @type {any} */ (made.children[at]), column.cell(row)));
      if (this.#body.children[place] !== made) this.#body.insertBefore(made, this.#body.children[place] ?? null);
    });
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    this.#empty.hidden = rows.length > 0;
    /** @type {HTMLElement} */ (this.element.firstElementChild).hidden = rows.length === 0;
  }

  /** @param {Column} column @param {number} at */
  #head(column, at) {
    const how = { scope: "col", class: column.figure ? "figure" : null, title: column.title };
    if (!column.by) return el("th", how, column.name);
    return el("th", how, el("button", { type: "button", class: "sort", onclick: () => this.#sort(at) }, column.name));
  }

  /** @param {number} at */
  #sort(at) {
    const again = this.#order?.at === at;
    this.#order = { at, down: again ? !this.#order.down : Boolean(this.#columns[at].figure) };
    this.#mark();
    this.show(this.#last);
  }

  #mark() {
    this.#heads.forEach((head, at) => {
      if (!this.#columns[at].by) return;
      const mine = this.#order?.at === at;
      head.setAttribute("aria-sort", mine ? (this.#order.down ? "descending" : "ascending") : "none");
    });
  }

  /** @param {any[]} rows */
  #sorted(rows) {
    const by = this.#order && this.#columns[this.#order.at].by;
    if (!by) return rows;
    const way = this.#order.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [by(a), by(b)];
      return (x < y ? -1 : x > y ? 1 : 0) * way;
    });
  }

  /** @param {string} id */
  #made(id) {
    const cells = this.#columns.map((column, at) =>
      el(at ? "td" : "th", { scope: at ? null : "row", class: column.figure ? "figure" : null }),
    );
    const row = /** @type {HTMLTableRowElement} */ (el("tr", {}, cells));
    this.#rows.set(id, row);
    return row;
  }
}

/**
 * @param {HTMLElement} place
 * @param {string|Cell|Cell[]} cell
 */
function put(place, cell) {
  const cells = Array.isArray(cell) ? cell : [typeof cell === "string" ? { text: cell } : cell];
  if (place.childElementCount !== cells.length) place.replaceChildren(...cells.map((each) => piece(each)));
  cells.forEach((each, at) => {
    let old = /** @type {HTMLElement} */ (place.children[at]);
    if ((old.tagName === "A") !== Boolean(each.href)) {
      const fresh = piece(each);
      old.replaceWith(fresh);
      old = fresh;
    }
    say(old, each.text);
    if (each.href && old.getAttribute("href") !== each.href) old.setAttribute("href", each.href);
    if (each.title) old.title = shown(each.title);
    old.className = each.how ?? "";
    if (each.bar !== undefined) {
      place.classList.add("bar");
      place.style.setProperty("--share", String(Math.max(0, Math.min(1, each.bar))));
    }
  });
}

/** @param {Cell} cell */
function piece(cell) {
  return el(cell.href ? "a" : "span", { href: cell.href });
}
