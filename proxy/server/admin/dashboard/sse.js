/** Server-sent events out of a stream of text (HTML Living Standard 9.2.6). Pure. */

/**
 * @typedef {object} Message
 * @property {string} kind the event's type, "message" where none is said
 * @property {string} data
 * @property {string} id the last that was said
 */

const MOST = 1024 * 1024; // characters of one message: who sends more is no gateway

/** Takes text as it comes, in pieces of any size, and gives the messages that have become whole. */
export class Parser {
  #rest = "";
  #kind = "";
  /** @type {string[]} */
  #data = [];
  #id = "";
  #size = 0;

  /**
   * @param {string} text
   * @returns {Message[]}
   */
  take(text) {
    this.#rest += text;
    const held = this.#rest.endsWith("\r") ? 1 : 0; // its "\n" may still come
    const lines = this.#rest.slice(0, this.#rest.length - held).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + (held ? "\r" : "");
    if (this.#rest.length + this.#size > MOST) throw new RangeError("a message without an end");
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#whole();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#kind = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    }
    return [];
  }

  #whole() {
    const message = { kind: this.#kind || "message", data: this.#data.join("\n"), id: this.#id };
    const said = this.#data.length > 0;
    this.#kind = "";
    this.#data = [];
    this.#size = 0;
    return said ? [message] : [];
  }
}
