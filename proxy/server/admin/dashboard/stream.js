/** Events as they happen, read by fetch so that the token travels in a header. */

import { Refused, send } from "./api.js";
import { Parser } from "./sse.js";

const TYPES = "store,hit,purge,evict,tier,breaker";
const SILENCE = 25_000; // milliseconds: the gateway gives a sign of life every ten seconds
const FIRST = 1000; // milliseconds before it is tried again, ...
const MOST = 8000; // ... and at most

/**
 * @typedef {object} Happening
 * @property {string} kind
 * @property {any} data
 */

/** Listens for as long as it may, and comes again when it was cut off. */
export class Stream {
  #hear;
  #tell;
  #last = "";
  /** @type {AbortController|null} */
  #control = null;

  /**
   * @param {(happening: Happening) => void} hear
   * @param {(since: number|null) => void} tell since when, in milliseconds, nothing is heard; null: it is
   */
  constructor(hear, tell) {
    this.#hear = hear;
    this.#tell = tell;
  }

  /** Begin, once. */
  start() {
    if (!this.#control) this.#run((this.#control = new AbortController()));
  }

  stop() {
    this.#control?.abort();
    this.#control = null;
  }

  /** @param {AbortController} control */
  async #run(control) {
    let wait = FIRST;
    let since = Date.now();
    while (!control.signal.aborted) {
      const began = Date.now();
      try {
        await this.#listen(control.signal, () => this.#tell(null));
      } catch (error) {
        if (error instanceof Refused && error.locked) break;
      }
      if (control.signal.aborted) return;
      wait = Date.now() - began > MOST ? FIRST : Math.min(wait * 2, MOST);
      since = Math.max(since, began);
      this.#tell(since);
      await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
    }
    if (this.#control === control) this.#control = null;
  }

  /** @param {AbortSignal} ended @param {() => void} connected */
  async #listen(ended, connected) {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE);
    try {
      const answer = await send(`events?types=${TYPES}`, {
        headers: this.#last ? { "Last-Event-ID": this.#last } : {},
        signal: AbortSignal.any([ended, silent.signal]),
      });
      if (!answer.ok || !answer.body) {
        const told = await answer.json().catch(() => ({}));
        throw new Refused(answer.status, String(told.error), String(told.message));
      }
      connected();
      const parser = new Parser();
      const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await text.read(); !piece.done; piece = await text.read()) {
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), SILENCE);
        for (const message of parser.take(piece.value)) this.#take(message);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {import("./sse.js").Message} message */
  #take(message) {
    this.#last = message.id;
    this.#hear({ kind: message.kind, data: JSON.parse(message.data) });
  }
}
