/** What tells two texts apart, for the eye. Pure. */

/** @typedef {{text: string, differs: boolean}} Piece */

/**
 * Two URLs in pieces (scheme, host, path segments, parameters), those that differ marked.
 * @param {string} here
 * @param {string} there
 * @returns {[Piece[], Piece[]]}
 */
export function compared(here, there) {
  const [a, b] = [pieces(here), pieces(there)];
  const common = longest(a, b);
  return [
    marked(
      a,
      common.map(([i]) => i),
    ),
    marked(
      b,
      common.map(([, j]) => j),
    ),
  ];
}

/** @param {string} url */
function pieces(url) {
  return url.match(/^[a-z][a-z0-9+.-]*:\/\/|[/?&][^/?&]*|[^/?&]+/gi) ?? [];
}

/** @param {string[]} all @param {number[]} same */
function marked(all, same) {
  return all.map((text, index) => ({ text, differs: !same.includes(index) }));
}

const MOST = 200; // pieces that are compared with each other; beyond it only what begins alike is common

/**
 * The longest common subsequence.
 * @param {string[]} a
 * @param {string[]} b
 * @returns {Array<[number, number]>} places in both
 */
function longest(a, b) {
  if (a.length > MOST || b.length > MOST) {
    let same = 0;
    while (same < Math.min(a.length, b.length) && a[same] === b[same]) same += 1;
    return Array.from({ length: same }, (_, index) => [index, index]);
  }
  const lengths = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  /** @type {Array<[number, number]>} */
  const found = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) found.push([i++, j++]);
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return found;
}
