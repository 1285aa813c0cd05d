/** The overview's tables: their columns, and how a figure is written in each. */

import { bytes, number, percent, span } from "./format.js";
import { link } from "./route.js";
import { Table } from "./table.js";

export function listings() {
  const hits = { name: "Hits", cell: (row) => number(row.hits), by: (row) => row.hits, figure: true };
  const misses = { name: "Misses", cell: (row) => number(row.misses), by: (row) => row.misses, figure: true };
  const ratio = {
    name: "Hit ratio",
    figure: true,
    by: (row) => row.ratio ?? -1,
    cell: (row) => ({ text: percent(row.ratio), bar: row.ratio ?? 0 }),
  };
  return {
    tiers: new Table(
      "Tiers",
      [
        { name: "Tier", cell: (row) => row.name },
        { name: "Entries", cell: (row) => number(row.size), figure: true },
        { name: "Size", cell: (row) => bytes(row.bytes), figure: true },
        {
          name: "Fill",
          cell: (row) => (row.most ? { text: percent(row.bytes / row.most), bar: row.bytes / row.most } : "–"),
          figure: true,
        },
        hits,
        ratio,
        { name: "Evicted", cell: (row) => number(row.evictions), figure: true },
      ],
      { id: (row) => row.name },
    ),
    upstreams: new Table(
      "Upstreams",
      [
        { name: "Upstream", cell: (row) => (row.name ? `${row.upstream}: ${row.name}` : row.upstream) },
        {
          name: "Breaker",
          cell: (row) => ({
            text: row.cause && row.breaker !== "closed" ? `${row.breaker} (${row.cause})` : row.breaker,
            how: `badge ${{ closed: "good", open: "bad" }[row.breaker] ?? "warn"}`,
          }),
        },
        { name: "Calls", cell: (row) => number(row.requests ?? null), figure: true },
        { name: "Errors", cell: (row) => number(row.errors ?? null), figure: true },
        { name: "In flight", cell: (row) => number(row.inFlight ?? null), figure: true },
      ],
      { id: (row) => row.id },
    ),
    rules: new Table(
      "Rules",
      [
        { name: "Rule", cell: (row) => row.name || "(no rule)", by: (row) => row.name },
        hits,
        misses,
        ratio,
        { name: "Calls saved", cell: (row) => number(row.callsSaved), by: (row) => row.callsSaved, figure: true },
        { name: "Time saved", cell: (row) => span(row.secondsSaved), by: (row) => row.secondsSaved, figure: true },
        { name: "Bytes saved", cell: (row) => bytes(row.bytesSaved), by: (row) => row.bytesSaved, figure: true },
        {
          name: "Money saved",
          cell: (row) => (row.moneySaved ? number(row.moneySaved) : "–"),
          by: (row) => row.moneySaved,
          figure: true,
        },
        {
          name: "Upstream time",
          cell: (row) => span(row.upstreamSeconds),
          by: (row) => row.upstreamSeconds,
          figure: true,
        },
        {
          name: "Wrong in shadow",
          figure: true,
          title: "Of the answers that a rule in shadow would have given, the share that differed",
          cell: (row) => (row.shadow ? `${percent(row.shadow.wrongRate)} of ${number(row.shadow.compared)}` : "–"),
          by: (row) => row.shadow?.wrongRate ?? -1,
        },
      ],
      { id: (row) => row.name, order: { at: 1, down: true } },
    ),
    reasons: new Table(
      "Why requests were not hits",
      [
        {
          name: "Reason",
          cell: (row) => ({
            text: row.word,
            how: "whole",
            href: link("reason", row.word),
            title: "What to do about it",
          }),
        },
        { name: "Requests", cell: (row) => ({ text: number(row.count), bar: row.part }), figure: true },
        { name: "Means", cell: (row) => ({ text: row.means, how: "words" }) },
        { name: "Clause", cell: (row) => ({ text: row.clause, how: "whole" }) },
      ],
      { id: (row) => row.word, empty: "Nothing was missed." },
    ),
    lost: new Table(
      "Misses by upstream time lost",
      [
        {
          name: "URL, without its query",
          cell: (row) => ({ text: row.url, href: link("explain", `http://${row.url}`), title: "Why?", how: "url" }),
        },
        { name: "Time lost", cell: (row) => span(row.seconds), figure: true },
      ],
      { id: (row) => row.url, empty: "Nothing was missed." },
    ),
  };
}
