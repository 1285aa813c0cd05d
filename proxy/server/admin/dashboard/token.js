/** Asking for the token, and trying it before it is kept. */

import { ask, setToken } from "./api.js";
import { byId, say } from "./dom.js";

/**
 * @param {() => void} unlocked
 * @returns {() => void} what opens the question
 */
export function tokenDialog(unlocked) {
  const [dialog, input, wrong] = ["token", "token-value", "token-wrong"].map(byId);
  byId("token-not").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    input.value = "";
    say(wrong, "");
  });
  dialog.querySelector("form").addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const given = input.value.trim();
    const trouble = /^[\x21-\x7e]+$/.test(given) ? await tried(given) : "This is not the admin token.";
    say(wrong, trouble);
    if (trouble) return input.select();
    setToken(given);
    dialog.close();
    unlocked();
  });
  return () => dialog.open || dialog.showModal();
}

/**
 * @param {string} token
 * @returns {Promise<string>} what is wrong, "" for nothing
 */
async function tried(token) {
  try {
    await ask("stats", { with: token });
    return "";
  } catch (error) {
    return error.message;
  }
}
