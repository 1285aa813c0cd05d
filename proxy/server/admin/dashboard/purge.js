/** Ending stored answers: preview, then the button that says how many, then who has applied it. */

import { ask } from "./api.js";
import { announce, badge, el, fill, say, scroller } from "./dom.js";
import { number, plural } from "./format.js";
import { locked } from "./locked.js";
import { link } from "./route.js";

const AGAIN = 1000; // milliseconds between two looks at a receipt
const KINDS = {
  url: ["A URL", "https://site.example/users/7, or a path for every host"],
  pattern: ["A pattern", "/users/*"],
  tag: ["A tag", "user-7"],
  rule: ["A rule", "users"],
  namespace: ["A namespace", "v2"],
  key: ["A key", "8 to 64 hex digits"],
  all: ["Everything", ""],
};

export class PurgeView {
  title = "Purge";
  #kind = el(
    "select",
    { id: "kind", onchange: () => this.#edited() },
    Object.entries(KINDS).map(([kind, [words]]) => el("option", { value: kind }, words)),
  );
  #value = el("input", {
    id: "value",
    type: "text",
    spellcheck: "false",
    autocapitalize: "off",
    oninput: () => this.#edited(),
  });
  #soft = el("input", { id: "soft", type: "checkbox", onchange: () => this.#edited() });
  #note = el("p", { class: "note wrong", role: "alert" });
  #found = el("div", { class: "found", tabindex: "-1" });
  #lock;
  #open;
  #turn = 0; // of what is shown: answers to an earlier one are not

  /** @param {() => void} unlock */
  constructor(unlock) {
    this.#lock = locked("Purging wants the token.", unlock);
    const form = el(
      "form",
      { class: "ask", onsubmit: (event) => this.#preview(event) },
      el(
        "div",
        { class: "line" },
        el("div", {}, el("label", { for: "kind" }, "What"), this.#kind),
        el("div", { class: "wide" }, el("label", { for: "value" }, "Which"), this.#value),
        el("button", { type: "submit" }, "Preview"),
      ),
      el(
        "label",
        { class: "check" },
        this.#soft,
        "Soft: it becomes stale, and may still stand in while it is fetched anew",
      ),
    );
    this.#open = el("div", {}, form, this.#note, this.#found);
    this.element = el("div", {}, el("div", { class: "head" }, el("h1", {}, "Purge")), this.#lock, this.#open);
  }

  /** @param {import("./feed.js").State} state */
  take(state) {
    this.#lock.hidden = state.full || (!state.locked && !state.live);
    this.#open.hidden = !this.#lock.hidden;
  }

  /** @param {import("./route.js").Route} route */
  show({ value, more }) {
    this.#kind.value = more.get("kind") in KINDS ? more.get("kind") : "url";
    this.#value.value = value;
    this.#soft.checked = more.get("soft") === "1";
    this.#edited();
  }

  /** What was previewed is no more what would be purged. */
  #edited() {
    this.#turn += 1;
    const [, example] = KINDS[this.#kind.value];
    this.#value.disabled = this.#kind.value === "all";
    this.#value.required = !this.#value.disabled;
    this.#value.placeholder = example;
    fill(this.#found);
    say(this.#note, "");
  }

  #wanted() {
    const kind = this.#kind.value;
    return { [kind]: kind === "all" ? true : this.#value.value.trim(), soft: this.#soft.checked };
  }

  /** @param {Event} event */
  async #preview(event) {
    event.preventDefault();
    this.#edited();
    const wanted = this.#wanted();
    await this.#asked({ ...wanted, dry_run: true }, (told) => {
      const count = told.matched.memory;
      const least = `${told.exact ? "" : "at least "}${plural(count, "entry", "entries")}`;
      const how = this.#soft.checked ? "Make stale" : "Purge";
      const button = el(
        "button",
        { type: "button", class: "danger", onclick: () => this.#purge(wanted, button) },
        `${how} ${least}`,
      );
      fill(
        this.#found,
        el(
          "section",
          { class: "card", "aria-label": "Preview" },
          el("h2", {}, "Preview"),
          el(
            "p",
            {},
            `${least} in memory would go, and whatever fits in Redis and in files, on every instance.`,
            " Nothing is purged yet.",
          ),
          told.sample.length
            ? el(
                "ul",
                { class: "sample" },
                told.sample.map((url) => el("li", {}, el("a", { class: "url", href: link("explain", url) }, url))),
              )
            : null,
          told.sample.length < count
            ? el("p", { class: "small" }, `The first ${number(told.sample.length)} of them.`)
            : null,
          el("p", { class: "buttons" }, button),
        ),
      );
      announce(`Preview: ${least} in memory would go.`);
    });
  }

  /** @param {object} wanted @param {HTMLButtonElement} button */
  async #purge(wanted, button) {
    button.disabled = true;
    await this.#asked(wanted, (told) => this.#follow(told));
    button.disabled = false;
  }

  /** @param {object} body @param {(told: any) => void} then */
  async #asked(body, then) {
    const turn = this.#turn;
    try {
      const told = await ask("purge", { body });
      if (turn === this.#turn) then(told);
    } catch (error) {
      if (turn === this.#turn) say(this.#note, error.message);
    }
  }

  /** Show a receipt, and look again until every instance has applied it. @param {any} told */
  async #follow(told) {
    const turn = ++this.#turn;
    this.#found.focus({ preventScroll: true }); // the button that had the focus goes
    for (let now = told; turn === this.#turn;) {
      fill(this.#found, receipt(now));
      announce(now.complete ? "Purged, on every instance." : "Purged here; other instances have yet to apply it.");
      if (now.complete) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      now = await ask(`purges/${encodeURIComponent(now.id)}`).catch(() => now);
    }
  }
}

/** @param {any} told */
function receipt(told) {
  const unseen = !told.complete && Object.values(told.instances).every((state) => state === "applied");
  const rows = Object.entries(told.instances).map(([name, state]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", {}, badge(state === "applied" ? "good" : "warn", String(state))),
    ),
  );
  return el(
    "section",
    { class: "card receipt", "aria-label": "Receipt" },
    el(
      "h2",
      {},
      "Receipt ",
      badge(told.complete ? "good" : "warn", told.complete ? "applied everywhere" : "on its way"),
    ),
    el(
      "p",
      {},
      `${told.exact ? "" : "At least "}${plural(told.matched.memory, "entry", "entries")} in memory `,
      `${told.soft ? "became stale" : "went"}, and what fitted in Redis and in files.`,
      told.durable ? "" : " It is not known to outlive a restart: the journal cannot be kept on disk.",
    ),
    scroller(
      "Instances",
      el(
        "table",
        { "aria-label": "Instances" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "instance"), el("th", { scope: "col" }, "state"))),
        el("tbody", {}, rows),
      ),
    ),
    unseen
      ? el("p", {}, "Instances that cannot be reached now have not applied it; they are told when they can be.")
      : null,
    el("p", { class: "small" }, `Receipt ${told.id}, ${told.at}`),
  );
}
