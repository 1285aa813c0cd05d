/** Why a request is answered as it is: a form, and the trace as the steps that the gateway takes. */

import { ask } from "./api.js";
import { el, fill, say } from "./dom.js";
import { locked } from "./locked.js";
import { link } from "./route.js";
import { trace } from "./trace.js";

export class ExplainView {
  title = "Explain";
  #url = el("input", {
    id: "url",
    type: "text",
    required: true,
    placeholder: "https://site.example/users/7?page=2",
    spellcheck: "false",
    autocapitalize: "off",
  });
  #method = el("input", { id: "method", type: "text", list: "methods", value: "GET", size: "8", spellcheck: "false" });
  #headers = el("textarea", { id: "headers", rows: "2", placeholder: "Accept-Language: de", spellcheck: "false" });
  #body = el("textarea", { id: "body", rows: "2", spellcheck: "false" });
  #more = el("details", {}, el("summary", {}, "Headers and body"));
  #note = el("p", { class: "note", role: "status" });
  #found = el("div", { class: "trace" });
  #reasons;
  #lock;
  #open;
  #full = false;
  /** @type {object|null} */
  #wanted = null;
  #asked = 0;

  /** @param {Record<string, any>} reasons @param {() => void} unlock */
  constructor(reasons, unlock) {
    this.#reasons = reasons;
    this.#lock = locked("Explain tells what is stored, so that it wants the token.", unlock);
    this.#more.append(
      el("label", { for: "headers" }, "Headers, one a line"),
      this.#headers,
      el("label", { for: "body" }, "Body"),
      this.#body,
    );
    const methods = ["GET", "HEAD", "POST", "PUT", "DELETE"].map((name) => el("option", { value: name }));
    const form = el(
      "form",
      { class: "ask", onsubmit: (event) => this.#submit(event) },
      el(
        "div",
        { class: "line" },
        el("div", { class: "wide" }, el("label", { for: "url" }, "URL, or a path of this host"), this.#url),
        el(
          "div",
          {},
          el("label", { for: "method" }, "Method"),
          this.#method,
          el("datalist", { id: "methods" }, methods),
        ),
        el("button", { type: "submit" }, "Explain"),
      ),
      this.#more,
    );
    this.#open = el("div", {}, form, this.#note, this.#found);
    this.element = el("div", {}, el("div", { class: "head" }, el("h1", {}, "Explain")), this.#lock, this.#open);
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
  show({ value, more }) {
    this.#url.value = value;
    this.#method.value = more.get("method") || "GET";
    this.#headers.value = more.getAll("header").join("\n");
    this.#body.value = more.get("body") ?? "";
    this.#more.open = Boolean(this.#headers.value || this.#body.value);
    fill(this.#found);
    say(this.#note, "");
    const body = more.get("body") ? { body: more.get("body") } : {};
    const headers = more.getAll("header").map(pair);
    this.#wanted = value ? { url: value, method: this.#method.value, headers, ...body } : null;
    if (this.#full) this.#look();
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const method = this.#method.value.trim().toUpperCase();
    const headers = this.#headers.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    const wrong = headers.find((line) => !/^[^\s:]+:/.test(line));
    if (wrong) return say(this.#note, `"${wrong}" is no header; for example: Accept: text/html`);
    /** @type {Array<[string, string]>} */
    const more = [
      ["method", method === "GET" ? "" : method],
      ["body", this.#body.value],
    ];
    for (const line of headers) more.push(["header", line]);
    const wanted = link("explain", this.#url.value.trim(), more);
    if (location.hash === wanted) this.#look();
    else location.hash = wanted;
  }

  async #look() {
    if (!this.#wanted) return;
    const number = ++this.#asked;
    let told;
    try {
      told = await ask("explain", { body: this.#wanted });
    } catch (error) {
      if (number !== this.#asked) return;
      fill(this.#found);
      return say(this.#note, error.message);
    }
    if (number !== this.#asked) return;
    say(this.#note, "");
    fill(this.#found, trace(told, this.#reasons));
  }
}

/** @param {string} line @returns {[string, string]} */
function pair(line) {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}
