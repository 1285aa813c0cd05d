/** The trace of one request, step by step, in the order in which the gateway asks its questions. */

import { compared } from "./differs.js";
import { badge, el, scroller } from "./dom.js";
import { bytes, number, plural, span } from "./format.js";
import { link } from "./route.js";
import { document as written } from "./rows.js";

const GOOD = ["HIT", "REVALIDATED", "UPDATING", "STALE"];

/**
 * @param {any} told what /explain says
 * @param {Record<string, {means: string}>} reasons
 * @returns {HTMLElement[]}
 */
export function trace(told, reasons) {
  const steps = [rules(told), key(told), tiers(told), asked(told), storing(told), workers(told)].filter(Boolean);
  return [verdict(told, reasons), advice(told), nearest(told), el("ol", { class: "steps" }, steps)].filter(Boolean);
}

/** @param {any} told @param {Record<string, {means: string}>} reasons */
function verdict(told, reasons) {
  const maybe = told.maybe.length ? `It may become ${told.maybe.join(" or ")}, as the origin answers.` : "";
  const because = told.because ? ["The origin is asked because of ", reason(told.because), "."] : [];
  const behind = told.refreshes ? "It is fetched anew behind it." : "";
  const where = written(told.clause);
  return el(
    "section",
    { class: "card verdict", "aria-label": "Verdict" },
    el(
      "p",
      { class: "big" },
      badge(GOOD.includes(told.verdict) ? "good" : told.verdict === "BYPASS" ? "off" : "warn", told.verdict),
      " ",
      reason(told.reason),
      " ",
      where ? el("a", { href: where, rel: "noreferrer", target: "_blank" }, told.clause) : told.clause,
    ),
    el(
      "p",
      {},
      `${reasons[told.reason]?.means ?? ""}. `.replace(/^./, (c) => c.toUpperCase()),
      because,
      " ",
      maybe,
      " ",
      behind,
    ),
    el("p", { class: "url" }, `${told.method} ${told.url}`),
    el(
      "p",
      { class: "buttons" },
      el("a", { class: "button plain", href: link("purge", told.url, [["kind", "url"]]) }, "Purge this URL"),
    ),
  );
}

/** @param {string} word */
const reason = (word) => el("a", { href: link("reason", word) }, word);

/** @param {any} told */
function advice(told) {
  if (!told.advice && !told.warnings.length) return null;
  return el(
    "section",
    { class: "card advice", "aria-label": "What to change" },
    el("h2", {}, "What to change"),
    told.warnings.map((text) => el("p", {}, badge("warn", "does not act"), " ", text)),
    told.advice ? el("p", {}, `${told.advice}.`) : null,
  );
}

/** @param {any} told */
function nearest(told) {
  const near = told.nearest;
  if (!near) return null;
  const [here, there] = compared(told.url, near.url).map((pieces) =>
    el(
      "p",
      { class: "url" },
      pieces.map(({ text, differs }) => (differs ? el("mark", {}, text) : text)),
    ),
  );
  const value = (text) => (text === null || text === undefined ? el("i", {}, "not there") : String(text));
  return el(
    "section",
    { class: "card", "aria-label": "Nearest stored answer" },
    el("h2", {}, "The nearest stored answer"),
    el("p", { class: "small" }, `Lies in ${near.tier}. What it differs in is marked; alike, it would be a hit.`),
    el(
      "div",
      { class: "pair" },
      el("div", {}, el("h3", {}, "asked for"), here),
      el("div", {}, el("h3", {}, "stored"), there),
    ),
    rowsOf(
      "What differs",
      ["part", "asked for", "stored"],
      near.differs.map((name) => [
        name,
        el("mark", {}, value(near.here[name])),
        el("mark", {}, value(near.there[name])),
      ]),
    ),
    el("p", {}, el("a", { href: link("explain", near.url) }, "Explain the stored one")),
  );
}

/** @param {string} title @param {string} outcome @param {string[]} [heads] @param {Array<Array<any>>} [rows] */
function step(title, outcome, heads, rows) {
  return el(
    "li",
    { class: "card" },
    el("h2", {}, title, " ", el("span", { class: "outcome" }, outcome)),
    rows && rowsOf(title, heads, rows),
  );
}

/** @param {string} name @param {string[]} heads @param {Array<Array<any>>} rows */
function rowsOf(name, heads, rows) {
  return scroller(
    name,
    el(
      "table",
      { "aria-label": name },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((head) => el("th", { scope: "col" }, head)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map(([first, ...rest]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, first),
            rest.map((cell) => el("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}

/** @param {boolean | null} yes null: nobody knows */
const tick = (yes) => (yes === null ? badge("warn", "?") : badge(yes ? "good" : "off", yes ? "yes" : "no"));

/** @param {any} told */
function rules(told) {
  const tried = told.rules.map((rule) => [rule.name, tick(rule.matched), rule.why]);
  if (!told.rules.some((rule) => rule.matched)) tried.push(["(no rule)", tick(true), `cache.unmatched: ${told.mode}`]);
  if (told.limit) {
    const left =
      told.limit.remaining === null ? "nobody counts now" : `${told.limit.remaining} of ${told.limit.limit} left`;
    tried.push(["rate limit", tick(!told.limit.refuses), `${left} for ${told.client}`]);
  }
  return step("Which rule?", told.rule || "none", ["rule", "fits", "why"], tried);
}

/** @param {any} told */
function key(told) {
  if (!told.key) return step("Which key?", "none: it is no matter for the cache");
  const { selected, ...parts } = told.key.parts;
  const rows = Object.entries({ ...parts, ...selected }).filter(([, value]) => value !== "" && value !== null);
  return step(
    "Which key?",
    told.key.hash.slice(0, 12),
    ["part", "value"],
    rows.map(([name, value]) => [name, el("span", { class: "url" }, value)]),
  );
}

/** @param {any} told */
function tiers(told) {
  if (!told.tiers.length) return null;
  const found = told.tiers.find((tier) => tier.found);
  const rows = told.tiers.map((tier) => [tier.tier, tick(tier.found), held(tier)]);
  if (told.parts)
    rows.push([told.parts.tier, tick(false), `in parts: ${bytes(told.parts.there)} of ${bytes(told.parts.of)}`]);
  const unknown = told.tiers.filter((tier) => tier.trouble).map((tier) => tier.tier);
  const not = unknown.length ? `no, but nobody knows of ${unknown.join(" and ")}` : "no";
  return step("Is it stored?", found ? `in ${found.tier}` : not, ["tier", "found", "what"], rows);
}

/** @param {any} tier */
function held(tier) {
  if (tier.trouble) return tier.trouble;
  if (tier.age === null) return tier.variants ? `${plural(tier.variants, "variant")}, of which none fits` : "nothing";
  const left = tier.ttl > 0 ? `fresh for ${span(tier.ttl)}` : `stale for ${span(-tier.ttl)}`;
  const told = `${bytes(tier.size)}, status ${tier.status}, ${span(tier.age)} old${tier.found ? `, ${left}` : ""}`;
  if (!tier.purged) return told;
  const by =
    tier.purged.kind === "forgotten"
      ? "older than what is known of purges"
      : `by ${tier.purged.kind} ${tier.purged.name}`;
  const which = tier.purged.id ? ` (purge ${tier.purged.id})` : "";
  return `${told}; ${tier.purged.soft ? "ended by a soft purge" : "purged"} ${by}${which}`;
}

/** @param {any} told */
function asked(told) {
  if (!told.upstream || ["HIT", "UPDATING"].includes(told.verdict)) return null;
  const now = told.upstream;
  const rows = [
    ["upstream", now.name],
    ["asked for", el("span", { class: "url" }, `${told.method} ${now.target}`)],
    ["breaker", now.breaker],
    ["in flight", `${number(now.in_flight)}, ${number(now.waiting)} wait`],
  ];
  if (now.refuses) rows.push(["refused", reason(now.refuses)]);
  if (told.fetch)
    rows.push(["shared", `a fetch is under way, for which ${plural(told.fetch.passengers, "request")} wait`]);
  return step("What is asked upstream?", now.refuses ? "nothing" : now.name, ["what", "how"], rows);
}

/** @param {any} told */
function storing(told) {
  const kept = told.storing;
  if (!kept || ["HIT", "UPDATING"].includes(told.verdict)) return null;
  const rows = [
    ["why", reason(kept.why)],
    ["assumed", kept.assumed],
  ];
  if (kept.ttl !== null) rows.push(["lifetime", span(kept.ttl)]);
  if (kept.lately) rows.push(["lately", reason(kept.lately)]);
  return step("Would the answer be stored?", kept.stored ? "yes" : "no", ["what", "how"], rows);
}

/** @param {any} told */
function workers(told) {
  if (told.workers.length < 2) return null;
  const rows = told.workers.map((each) => [`${each.worker}`, each.verdict, each.reason]);
  return step("And the other workers?", plural(told.workers.length, "worker"), ["worker", "verdict", "reason"], rows);
}
