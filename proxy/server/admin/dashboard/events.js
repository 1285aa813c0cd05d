/** What happens, as it happens: filtered, and held still while somebody reads. */

import { announce, badge, el, fill, say } from "./dom.js";
import { bytes, clock, number, plural } from "./format.js";
import { locked } from "./locked.js";
import { link } from "./route.js";

const SHOWN = 200; // lines
const HELD = 500; // events while it is paused
const KINDS = {
  breaker: "breakers",
  tier: "tiers",
  purge: "purges",
  evict: "evictions",
  store: "stores",
  hit: "samples of hits",
};
const RARE = ["breaker", "tier", "purge"];

/** @typedef {import("./stream.js").Happening} Happening */

export class EventsView {
  title = "Events";
  /** @type {Happening[]} newest first */
  #heard = [];
  /** @type {Happening[]} newest last */
  #held = [];
  #paused = false;
  #list = el("ol", { class: "events", "aria-label": "Events, the newest first" });
  #pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.#hold(!this.#paused) }, "Pause");
  #since = el("p", { class: "note", role: "status" });
  #empty = el("p", { class: "empty" }, "Nothing has happened since this page listens.");
  #kinds;
  #lock;
  #open;

  /** @param {() => void} unlock */
  constructor(unlock) {
    this.#kinds = Object.keys(KINDS).map((kind) =>
      el("input", { type: "checkbox", value: kind, checked: true, onchange: () => this.#draw() }),
    );
    const checks = this.#kinds.map((box) => el("label", { class: "check" }, box, KINDS[box.value]));
    this.#lock = locked("Events name URLs, so that they want the token.", unlock);
    this.#open = el(
      "div",
      {},
      el(
        "div",
        { class: "filters" },
        el("fieldset", { class: "checks" }, el("legend", { class: "unseen" }, "Kinds"), checks),
        this.#pause,
      ),
      this.#since,
      this.#empty,
      this.#list,
    );
    this.element = el("div", {}, el("div", { class: "head" }, el("h1", {}, "Events")), this.#lock, this.#open);
  }

  /** @param {import("./feed.js").State} state */
  take(state) {
    this.#lock.hidden = state.full || this.#heard.length > 0;
    this.#open.hidden = !this.#lock.hidden;
  }

  show() {}

  /** @param {number|null} since when nothing is heard, in milliseconds */
  cut(since) {
    const text =
      since === null ? "" : `Not connected since ${clock(since / 1000)}; trying again. What is rare is told then.`;
    say(this.#since, text);
  }

  /** @param {Happening} happening */
  hear(happening) {
    if (happening.kind === "end") return;
    if (RARE.includes(happening.kind)) announce(words(happening));
    if (this.#paused) {
      this.#held.push(happening);
      if (this.#held.length > HELD) this.#held.shift();
      say(this.#pause, `Go on (${plural(this.#held.length, "event")})`);
      return;
    }
    this.#put(happening);
    if (this.#shows(happening)) this.#add(happening);
  }

  /** @param {boolean} paused */
  #hold(paused) {
    this.#paused = paused;
    this.#pause.setAttribute("aria-pressed", String(paused));
    say(this.#pause, paused ? "Go on" : "Pause");
    if (!paused) {
      this.#held.forEach((each) => this.#put(each));
      this.#held = [];
      this.#draw();
    }
  }

  /** @param {Happening} happening */
  #put(happening) {
    this.#heard.unshift(happening);
    // What is rare outlives what is frequent.
    if (this.#heard.length > 2 * SHOWN) {
      const drop = this.#heard.findLastIndex((each) => !RARE.includes(each.kind));
      this.#heard.splice(drop < 0 ? -1 : drop, 1);
    }
  }

  /** @param {Happening} happening */
  #shows(happening) {
    return this.#kinds.some((box) => box.checked && box.value === happening.kind);
  }

  /** @param {Happening} happening */
  #add(happening) {
    this.#list.prepend(line(happening));
    while (this.#list.childElementCount > SHOWN) this.#list.lastElementChild.remove();
    this.#empty.hidden = true;
  }

  #draw() {
    const shown = this.#heard.filter((each) => this.#shows(each)).slice(0, SHOWN);
    fill(this.#list, shown.map(line));
    this.#empty.hidden = shown.length > 0;
  }
}

/** @param {Happening} happening */
function line({ kind, data }) {
  const how =
    kind === "breaker" || kind === "tier"
      ? (data.state === "closed" && kind === "breaker") || data.state === "ready"
        ? "good"
        : "bad"
      : "off";
  const url = data.url && el("a", { class: "url", href: link("explain", data.url) }, data.url);
  return el(
    "li",
    {},
    el("time", {}, clock(data.at)),
    badge(how, kind),
    el("span", { class: "what" }, url, url && " ", words({ kind, data })),
  );
}

/** @param {Happening} happening */
function words({ kind, data }) {
  const skipped = data.skipped ? `; ${number(data.skipped)} more were not told` : "";
  switch (kind) {
    case "store":
      return `${bytes(data.bytes)}, ${data.rule || "no rule"}${skipped}`;
    case "hit":
      return `${plural(data.hits, "hit")} in ${data.tier}, ${data.rule || "no rule"}${skipped}`;
    case "purge":
      return `${data.soft ? "soft purge" : "purge"} by ${data.kind} ${purged(data).join(", ")}${skipped}`;
    case "evict":
      return `${plural(data.entries, "entry", "entries")} left ${data.tier} for want of room`;
    case "tier":
      return `${data.tier} is ${data.state}${data.reason ? `: ${data.reason}` : ""}`;
    case "breaker":
      return `upstream ${data.upstream} is ${data.state}${data.reason ? `: ${data.reason}` : ""}`;
    default:
      return kind;
  }
}

/** @param {any} data of a purge; host and target of a URL are told apart by "|" */
const purged = ({ kind, names }) => (kind === "url" ? names.map((name) => name.replace("|", "")) : names);
