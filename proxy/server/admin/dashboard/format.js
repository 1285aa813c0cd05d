/** Figures and names as text for people. Pure. */

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const UNKNOWN = "–";
// What a terminal or a browser would act on instead of showing it: controls, bidi marks and overrides, nothings.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Text of strangers, with what would hide or turn it around spelt out.
 * @param {unknown} text
 */
export function shown(text) {
  return String(text).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** @param {number|null|undefined} value */
const unknown = (value) => value === null || value === undefined || !Number.isFinite(value);

/**
 * A whole number, or one with a digit or two when it is small.
 * @param {number|null} value
 */
export function number(value) {
  if (unknown(value)) return UNKNOWN;
  const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/**
 * A share of one as percent: never 100 % of what is less, nor 0 % of what is more.
 * @param {number|null} share
 */
export function percent(share) {
  if (unknown(share)) return UNKNOWN;
  const hundredths = share * 100;
  if (share > 0 && hundredths < 0.1) return "< 0.1 %";
  if (share < 1 && hundredths > 99.9) return "> 99.9 %";
  return `${hundredths.toLocaleString("en", { maximumFractionDigits: 1 })} %`;
}

/**
 * @param {number|null} count of bytes
 */
export function bytes(count) {
  if (unknown(count)) return UNKNOWN;
  let at = 0;
  let value = count;
  while (Math.abs(value) >= 1000 && at < SIZES.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at ? value.toLocaleString("en", { maximumSignificantDigits: 3 }) : number(value)} ${SIZES[at]}`;
}

/**
 * How long something took.
 * @param {number|null} value in milliseconds
 */
export function milliseconds(value) {
  if (unknown(value)) return UNKNOWN;
  return value < 1000 ? `${number(value < 10 ? value : Math.round(value))} ms` : `${number(value / 1000)} s`;
}

/**
 * How long something lasts, in its two largest units.
 * @param {number|null} seconds
 */
export function span(seconds) {
  if (unknown(seconds)) return UNKNOWN;
  if (seconds < 0) return `-${span(-seconds)}`;
  if (seconds < 10) return `${number(seconds)} s`;
  const whole = Math.round(seconds);
  /** @type {Array<[string, number]>} */
  const parts = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = parts.findIndex(([, size]) => whole >= size);
  const [unit, size] = parts[first];
  const next = parts[first + 1];
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

/**
 * @param {number} seconds since 1970
 * @returns {string} the local time of day
 */
export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}
