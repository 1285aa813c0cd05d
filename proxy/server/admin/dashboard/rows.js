/** The rows of the overview's tables, out of the statistics. Pure. */

import { share } from "./trend.js";

/**
 * @param {any} stats
 * @param {any} window of the history, null for since the start
 */
export function tiers(stats, window) {
  const { memory, redis, file } = stats;
  const kept = [
    {
      name: "memory",
      size: memory.size,
      bytes: memory.bytes,
      most: memory.maxBytes,
      evictions: memory.evictions,
      hits: memory.totalHits,
      misses: memory.totalMisses,
      there: memory.maxBytes > 0,
    },
    {
      name: "redis",
      size: redis.size,
      bytes: redis.memoryUsage,
      most: 0,
      evictions: redis.evictions,
      hits: redis.hits,
      misses: redis.misses,
      there: redis.enabled,
    },
    {
      name: "file",
      size: file.size,
      bytes: file.bytes,
      most: file.maxBytes,
      evictions: file.evictions,
      hits: file.hits,
      misses: file.misses,
      there: file.maxBytes > 0 || Boolean(file.off),
    },
  ];
  return kept
    .filter((tier) => tier.there)
    .map((tier) => {
      const seen = window?.tiers[tier.name];
      const counted = window ? { hits: seen?.hits ?? 0, misses: seen?.misses ?? 0 } : {};
      return ratioed({ ...tier, ...counted });
    });
}

/**
 * @param {any} stats
 * @param {any} window
 */
export function rules(stats, window) {
  const told = window?.rules ?? stats.rules;
  return Object.entries(told).map(([name, rule]) => {
    const shadow = stats.rules[name]?.compared === undefined ? null : stats.rules[name];
    return ratioed({ ...rule, name, shadow });
  });
}

/** @param {{hits: number, misses: number}} row */
const ratioed = (row) => ({ ...row, ratio: share(row.hits, row.misses) });

/**
 * Why requests were not answered from store, the most frequent first.
 * @param {any} window
 * @param {Record<string, {clause: string, means: string, advice: string}>} known
 */
export function reasons(window, known) {
  const all = Object.values(window?.reasons ?? {}).reduce((sum, count) => sum + count, 0);
  return Object.entries(window?.reasons ?? {}).map(([word, count]) => ({
    word,
    count,
    part: share(count, all - count) ?? 0,
    ...(known[word] ?? { clause: "", means: "", advice: "" }),
  }));
}

/**
 * @param {any} stats
 * @param {any} window
 * @returns {{calls: number, seconds: number, bytes: number, money: number}}
 */
export function saved(stats, window) {
  const sum = { calls: 0, seconds: 0, bytes: 0, money: 0 };
  for (const rule of Object.values(window?.rules ?? stats.rules)) {
    sum.calls += rule.callsSaved;
    sum.seconds += rule.secondsSaved;
    sum.bytes += rule.bytesSaved;
    sum.money += rule.moneySaved;
  }
  return sum;
}

/** @param {any} stats */
export function upstreams(stats) {
  const replicas = stats.upstream.replicas ?? [];
  const alone = Object.keys(stats.upstreams).length === 1;
  return Object.entries(stats.upstreams).flatMap(([name, service]) => {
    const own = replicas.filter((replica) => replica.upstream === name);
    return own.length
      ? own.map((replica) => ({ ...service, ...replica, id: `${name} ${replica.name}` }))
      : [{ ...service, ...(alone ? stats.upstream : {}), upstream: name, id: name, name: "" }];
  });
}

/**
 * Where a document of the clause can be read; null for what is none.
 * @param {string} clause as "RFC 9111 5.2.2.4"
 */
export function document(clause) {
  const found = /^RFC (\d+)(?: ([\d.]+))?$/.exec(clause);
  return found ? `https://www.rfc-editor.org/rfc/rfc${found[1]}${found[2] ? `#section-${found[2]}` : ""}` : null;
}
