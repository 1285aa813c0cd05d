/** What lies in store, found by a glob on the path; each entry leads to its explain and its purge. */

import { ask } from "./api.js";
import { el, say } from "./dom.js";
import { bytes, number, plural, span } from "./format.js";
import { locked } from "./locked.js";
import { link } from "./route.js";
import { Table } from "./table.js";

const LIMIT = 200;

export class EntriesView {
  title = "Entries";
  #match = el("input", {
    id: "match",
    type: "text",
    placeholder: "/users/*",
    spellcheck: "false",
    autocapitalize: "off",
  });
  #note = el("p", { class: "note", role: "status" });
  #table = new Table(
    "Entries",
    [
      {
        name: "URL",
        cell: (row) => ({ text: row.url, href: link("explain", row.url), title: "Explain it", how: "url" }),
        by: (row) => row.url,
      },
      { name: "Rule", cell: (row) => row.rule || "(no rule)", by: (row) => row.rule },
      { name: "Tier", cell: (row) => row.tier, by: (row) => row.tier },
      { name: "Hits", cell: (row) => number(row.hits), by: (row) => row.hits, figure: true },
      { name: "Age", cell: (row) => span(Math.round(row.age)), by: (row) => row.age, figure: true },
      { name: "Left", cell: left, by: (row) => row.ttl, figure: true, title: "Of its lifetime" },
      {
        name: "Size",
        cell: (row) => (row.of ? `${bytes(row.size)} of ${bytes(row.of)}` : bytes(row.size)),
        by: (row) => row.size,
        figure: true,
      },
      {
        name: "Tags",
        cell: (row) =>
          row.tags.map((tag) => ({ text: tag, href: link("purge", tag, [["kind", "tag"]]), title: "Purge by it" })),
      },
      {
        name: "Do",
        cell: (row) => [
          { text: "Explain", href: link("explain", row.url) },
          { text: "Purge", href: link("purge", row.url, [["kind", "url"]]) },
        ],
      },
    ],
    { id: (row) => row.key, empty: "Nothing that fits lies in store.", order: { at: 3, down: true } },
  );
  #lock;
  #open;
  #full = false;
  #wanted = "";
  #asked = 0;

  /** @param {() => void} unlock */
  constructor(unlock) {
    this.#lock = locked("What lies in store is told to the token alone.", unlock);
    const form = el(
      "form",
      { class: "ask", onsubmit: (event) => this.#submit(event) },
      el("label", { for: "match" }, "Glob on the path; //host/* limits the host"),
      el("div", { class: "line" }, this.#match, el("button", { type: "submit" }, "Search")),
    );
    this.#open = el("div", {}, form, this.#note, el("section", { class: "card" }, this.#table.element));
    this.#table.element.hidden = true;
    this.element = el("div", {}, el("div", { class: "head" }, el("h1", {}, "Entries")), this.#lock, this.#open);
  }

  /** @param {import("./feed.js").State} state */
  take(state) {
    const came = state.full && !this.#full;
    this.#full = state.full;
    this.#lock.hidden = state.full || (!state.locked && !state.live);
    this.#open.hidden = !this.#lock.hidden;
    if (came && this.element.isConnected) this.#look();
  }

  /** @param {import("./route.js").Route} route */
  show({ value }) {
    this.#wanted = this.#match.value = value;
    if (this.#full) this.#look();
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const wanted = link("entries", this.#match.value.trim());
    if (location.hash === wanted) this.#look();
    else location.hash = wanted;
  }

  async #look() {
    const number = ++this.#asked;
    const match = this.#wanted ? `&match=${encodeURIComponent(this.#wanted)}` : "";
    let told;
    try {
      told = await ask(`entries?limit=${LIMIT}${match}`);
    } catch (error) {
      if (number === this.#asked) say(this.#note, error.message);
      return;
    }
    if (number !== this.#asked) return;
    this.#table.element.hidden = false;
    this.#table.show(told.entries);
    const of = told.entries.length < told.total ? `The ${told.entries.length} with most hits of ` : "";
    const cut = told.complete ? "" : ", as far as was looked; a glob finds the rest";
    say(this.#note, `${of}${plural(told.total, "entry", "entries")}${cut}`);
  }
}

/** @param {any} row */
function left(row) {
  return row.ttl >= 0 ? span(Math.round(row.ttl)) : { text: `stale for ${span(Math.round(-row.ttl))}`, how: "old" };
}
