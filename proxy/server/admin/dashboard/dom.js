/** Elements out of text. Nothing that is given here becomes markup: text is text, whoever wrote it. */

import { shown } from "./format.js";

/** @typedef {Node|string|number|null|undefined|false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, unknown>} [attributes] `on…` is a listener; null, undefined and false are left out
 * @param {...(Child|Child[])} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...nodes(children));
  return made;
}

/** @param {Array<Child|Child[]>} children */
function nodes(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(shown(child))));
}

/**
 * @param {Element} parent
 * @param {...(Child|Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...nodes(children));
}

/**
 * Change what stands there only where it is another: what is read aloud, or selected, stays.
 * @param {Element} element
 * @param {unknown} text
 */
export function say(element, text) {
  const wanted = shown(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * What may be wider than its place: a region that takes the focus while there is something to scroll to.
 * @param {string} name
 * @param {HTMLElement} table
 */
export function scroller(name, table) {
  const region = el("div", { class: "scroll", role: "region", "aria-label": name }, table);
  const fits = new ResizeObserver(() => {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  });
  fits.observe(region);
  fits.observe(table);
  return region;
}

/**
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Tell those who listen instead of looking.
 * @param {string} text
 */
export function announce(text) {
  say(byId("said"), text);
}

/**
 * @param {"good"|"warn"|"bad"|"off"} how
 * @param {Child} text
 * @param {string} [title]
 */
export function badge(how, text, title) {
  return el("span", { class: `badge ${how}`, title: title ? shown(title) : null }, text);
}
