/** What stands where something wants the token. */

import { el } from "./dom.js";

/**
 * @param {string} why
 * @param {() => void} unlock
 */
export function locked(why, unlock) {
  return el(
    "div",
    { class: "locked" },
    el("p", {}, why),
    el("button", { type: "button", onclick: unlock }, "Enter the token"),
  );
}
