/** The fragment of the page's URL: which view, of what. `#explain=URL&method=POST` can be linked to. Pure. */

export const VIEWS = ["overview", "entries", "explain", "purge", "events", "reason"];

/**
 * @typedef {object} Route
 * @property {string} view one of VIEWS
 * @property {string} value what the view is of, "" for nothing
 * @property {URLSearchParams} more
 */

/**
 * @param {string} hash with or without its "#"
 * @returns {Route}
 */
export function read(hash) {
  const more = new URLSearchParams(hash.replace(/^#/, ""));
  const [view, value] = more.entries().next().value ?? ["overview", ""];
  more.delete(view);
  return VIEWS.includes(view) ? { view, value, more } : { view: "overview", value: "", more: new URLSearchParams() };
}

/**
 * @param {string} view
 * @param {string} [value]
 * @param {Array<[string, string]>} [more] empty ones are left out
 * @returns {string} a link that `read` reads so
 */
export function link(view, value = "", more = []) {
  const pairs = more.filter(([, text]) => text !== "");
  if (value === "" && !pairs.length) return `#${view}`;
  return `#${new URLSearchParams([[view, value], ...pairs])}`;
}
