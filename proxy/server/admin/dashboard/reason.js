/** One reason: what it means, its clause, what to do, and where it occurs. */

import { badge, el, fill } from "./dom.js";
import { number, span } from "./format.js";
import { locked } from "./locked.js";
import { link } from "./route.js";
import { document as written } from "./rows.js";
import { Table } from "./table.js";

const COUNT = { name: "Requests", cell: (row) => number(row.count), by: (row) => row.count, figure: true };
const LOST = { name: "Upstream time", cell: (row) => span(row.seconds), by: (row) => row.seconds, figure: true };

export class ReasonView {
  title = "Reason";
  #word = "";
  #reasons;
  #told = el("section", { class: "card" });
  #rules = new Table("Rules where it occurs", [{ name: "Rule", cell: (row) => row.rule || "(no rule)" }, COUNT, LOST], {
    id: (row) => row.rule,
    empty: "It did not occur.",
    order: { at: 1, down: true },
  });
  #groups = new Table(
    "Paths where it occurs",
    [
      {
        name: "Paths",
        cell: (row) =>
          /^[^(]/.test(row.group)
            ? { text: row.group, href: link("entries", glob(row.group)), title: "What is stored there", how: "url" }
            : row.group,
      },
      { name: "Rule", cell: (row) => row.rule || "(no rule)" },
      COUNT,
      LOST,
    ],
    { id: (row) => `${row.rule} ${row.group}`, empty: "It did not occur.", order: { at: 2, down: true } },
  );
  #lock;

  /** @param {Record<string, any>} reasons @param {() => void} unlock */
  constructor(reasons, unlock) {
    this.#reasons = reasons;
    this.#lock = locked("Paths are named to the token alone.", unlock);
    this.element = el(
      "div",
      { class: "overview" },
      el("div", { class: "head" }, el("h1", {}, "Reason")),
      this.#told,
      el(
        "div",
        { class: "two" },
        el("section", { class: "card" }, el("h2", {}, "By rule"), this.#rules.element),
        el("section", { class: "card" }, el("h2", {}, "By path"), this.#groups.element, this.#lock),
      ),
    );
  }

  /** @param {import("./route.js").Route} route */
  show({ value }) {
    this.#word = value;
    const known = this.#reasons[value];
    const where = known && written(known.clause);
    fill(
      this.#told,
      el("p", { class: "big" }, badge("off", value || "?")),
      el("p", {}, known ? `${known.means[0].toUpperCase()}${known.means.slice(1)}.` : "There is no such reason."),
      known?.clause
        ? el(
            "p",
            {},
            "Clause: ",
            where ? el("a", { href: where, rel: "noreferrer", target: "_blank" }, known.clause) : known.clause,
          )
        : null,
      known ? el("p", {}, el("b", {}, "What to do: "), known.advice || "nothing in the settings changes that.") : null,
    );
  }

  /** @param {import("./feed.js").State} state */
  take({ window, full }) {
    const seen = (all) =>
      all
        .map((row) => ({ ...row, count: row.reasons[this.#word] ?? 0, seconds: row.upstreamSeconds }))
        .filter((row) => row.count);
    const rules = Object.entries(window?.rules ?? {}).map(([rule, told]) => ({ ...told, rule }));
    this.#rules.show(seen(rules));
    this.#lock.hidden = full;
    this.#groups.element.hidden = !full;
    this.#groups.show(seen(window?.groups ?? []));
  }
}

/** @param {string} group of paths, as the history names it */
const glob = (group) => (group.endsWith("*") || group === "/" ? group : `${group}*`);
