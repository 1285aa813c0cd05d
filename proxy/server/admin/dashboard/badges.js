/** How the gateway stands, in a row of words, each with a shape of its own: colour is not all that tells. Pure. */

import { bytes, plural, span } from "./format.js";

/**
 * @typedef {object} Badge
 * @property {"good"|"warn"|"bad"|"off"} how
 * @property {string} text
 * @property {string} why
 */

/**
 * @param {any} stats
 * @param {boolean} draining
 * @returns {Badge[]}
 */
export function badges(stats, draining) {
  const told = [redis(stats.redis), file(stats.file), ...breakers(stats)];
  if (draining) told.unshift({ how: "warn", text: "Draining", why: "It ends, and takes no new work." });
  if (stats.memory.off) told.push({ how: "bad", text: "Memory tier off", why: stats.memory.off });
  told.push(
    stats.durable
      ? { how: "good", text: "Purges durable", why: "The journal of purges is on disk: they outlive the gateway." }
      : {
          how: "bad",
          text: "Purges not durable",
          why: "The journal cannot be kept on disk: a restart forgets purges.",
        },
  );
  if (stats.process.memoryLimit) told.push(pressure(stats.process));
  return told;
}

/** @param {any} redis @returns {Badge} */
function redis(redis) {
  if (!redis.enabled) return { how: "off", text: "Redis off", why: "This instance shares with nobody." };
  if (!redis.connected) {
    return { how: "bad", text: "Redis fallback", why: redis.reason || "not connected: own tiers only" };
  }
  const why = redis.reason || `${plural(redis.keys, "entry", "entries")}, ${redis.latency} ms`;
  return redis.state === "ready"
    ? { how: "good", text: "Redis shared", why }
    : { how: "warn", text: `Redis ${redis.state}`, why };
}

/** @param {any} file @returns {Badge} */
function file(file) {
  if (file.off) return { how: "bad", text: "File tier off", why: file.off };
  if (!file.maxBytes) return { how: "off", text: "No file tier", why: "It is not configured." };
  return { how: "good", text: "File tier on", why: `${bytes(file.bytes)} of ${bytes(file.maxBytes)}` };
}

/** @param {any} stats @returns {Badge[]} */
function breakers(stats) {
  const open = Object.entries(stats.upstreams).filter(([, each]) => each.breaker !== "closed");
  if (!open.length) return [{ how: "good", text: "Breakers closed", why: "Every upstream gets calls." }];
  return open.map(([name, each]) => ({
    how: each.breaker === "open" ? "bad" : "warn",
    text: `Breaker ${each.breaker}: ${name}`,
    why: each.cause,
  }));
}

/** @param {any} process @returns {Badge} */
function pressure(process) {
  const why = `${bytes(process.memory)} of ${bytes(process.memoryLimit)}`;
  return { how: process.pressure === "calm" ? "good" : "warn", text: `Memory ${process.pressure}`, why };
}

/** @param {any} stats */
export function life(stats) {
  return `version ${stats.version}, up ${span(stats.uptime)}, ${plural(stats.workers, "worker")}`;
}
