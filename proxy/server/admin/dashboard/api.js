/** The gateway's other pages. The token is here and nowhere else: in no storage, cookie or URL. */

const PATIENCE = 8000; // milliseconds that an answer may take

/** What a page says instead of an answer; `status` 0: nobody said anything. */
export class Refused extends Error {
  /** @param {number} status @param {string} word @param {string} message */
  constructor(status, word, message) {
    super(message);
    this.status = status;
    this.word = word;
  }

  /** Whether the token would help. */
  get locked() {
    return this.status === 401 || (this.status === 404 && this.word === "not-found");
  }
}

let token = "";

/** @param {string} value "" forgets it */
export function setToken(value) {
  token = value;
}

export function hasToken() {
  return token !== "";
}

/**
 * @param {string} path under the admin prefix, relative to the page
 * @param {RequestInit & {with?: string}} [how] `with`: another token than the one that is kept
 */
export function send(path, how = {}) {
  const bearer = how.with ?? token;
  return fetch(new URL(path, location.origin + location.pathname), {
    ...how,
    headers: { ...how.headers, ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}) },
    cache: "no-store",
    credentials: "same-origin", // of a proxy that knows who may; the gateway sets none
    redirect: "error",
    referrerPolicy: "no-referrer",
  });
}

/**
 * @param {string} path
 * @param {{body?: unknown, accept?: number[], with?: string}} [more] `accept`: statuses that are answers too
 * @returns {Promise<any>} the JSON; throws Refused
 */
export async function ask(path, { body, accept = [], with: other } = {}) {
  let answer;
  try {
    answer = await send(path, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
      with: other,
    });
    const told = await answer.json();
    if (answer.ok || accept.includes(answer.status)) return told;
    throw new Refused(answer.status, String(told.error), String(told.message));
  } catch (error) {
    if (error instanceof Refused) throw error;
    if (answer && !answer.ok) throw new Refused(answer.status, "", `The answer was ${answer.status}.`);
    throw new Refused(0, "", error.name === "TimeoutError" ? "It does not answer." : "It cannot be reached.");
  }
}
