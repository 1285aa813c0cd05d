// The scenarios of scenarios.json for k6, with the same bounds (docs/load.md):
//   k6 run -e BASE=http://127.0.0.1:4000 -e CASE=hit tests/load/k6.js
// BASE: the instances, by commas. CASE: one scenario, else all in turn. TOKEN: of their admin pages, for purges. What
// only whoever has started the gateways can see (memory, Redis) is for `make load` alone.
import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter, Rate } from 'k6/metrics';

const LIST = JSON.parse(open('./scenarios.json'));
const BASES = (__ENV.BASE || 'http://127.0.0.1:4000').split(',');
const CHOSEN = LIST.scenarios.filter((each) => !each.runner && (!__ENV.CASE || each.name === __ENV.CASE));
const BY_NAME = Object.fromEntries(CHOSEN.map((each) => [each.name, each]));
const FROM_STORE = ['HIT', 'STALE', 'UPDATING', 'REVALIDATED'];
const PURGES = 10; // a second, at most

// A bound is told of the metric of its name; k6 cannot see the upstream, so what it fetched is told by X-Cache.
const RATES = ['errors', 'hits', 'hits_before', 'hits_after'];
const COUNTS = ['redis_after', 'stale', 'purges', 'connections'];
const rates = Object.fromEntries(RATES.map((name) => [name, new Rate(name)]));
const counts = Object.fromEntries(COUNTS.map((name) => [name, new Counter(name)]));
const fetched = new Counter('fetched');
const slow = new Rate('slow');

function thresholds() {
  const all = {};
  for (const scenario of CHOSEN) {
    const of = `{scenario:${scenario.name}}`;
    for (const [name, bounds] of Object.entries(scenario.thresholds)) {
      for (const [sign, bound] of Object.entries(bounds)) {
        const held = `${sign === 'least' ? '>=' : '<='}${bound}`;
        if (RATES.includes(name)) all[name + of] = [`rate${held}`];
        if (COUNTS.includes(name)) all[name + of] = [`count${held}`];
        if (name === 'slowdown') all[`slow${of}`] = ['rate<=0.01']; // p99, against what setup() has measured
        if (name === 'calls_per_path' && scenario.paths) all[`fetched${of}`] = [`count<=${bound * scenario.paths}`];
      }
    }
  }
  return all;
}

function courses() {
  const all = {};
  let startTime = 0;
  for (const { name, clients, seconds } of CHOSEN) {
    const course = { executor: 'constant-vus', exec: 'ask', vus: clients, duration: `${seconds}s`, gracefulStop: '30s' };
    all[name] = { ...course, startTime: `${startTime}s` };
    if (name === 'purge') all.purging = { ...course, exec: 'purge', vus: 1, startTime: `${startTime}s` };
    startTime += seconds + 2;
  }
  return all;
}

export const options = { scenarios: courses(), thresholds: thresholds() };

const HEADERS = { Host: LIST.host };
const address = (target, number) => BASES[number % BASES.length] + target;

// Popular paths come more often by Zipf's law where the scenario says so; else all alike.
const weights = Object.fromEntries(CHOSEN.map((each) => [each.name, cumulated(each)]));

function cumulated({ paths = 0, skew = 0 }) {
  let sum = 0;
  return Array.from({ length: paths }, (_, rank) => (sum += (rank + 1) ** -skew));
}

function drawn(name) {
  const sums = weights[name];
  const wanted = Math.random() * sums[sums.length - 1];
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

function target(name, data) {
  if (name === 'miss') return `/miss/${data.run}/${exec.vu.idInTest}/${exec.vu.iterationInScenario}`;
  if (name === 'stampede') return `/slow/${data.run}/${exec.vu.iterationInScenario}`;
  return name === 'mixed' ? `/paths/${data.run}/${drawn(name)}` : `/paths/${drawn(name)}`;
}

// Warms what has to be warm, then measures one client alone: milliseconds, by scenario.
export function setup() {
  const data = { run: Date.now(), alone: {}, purged: {} };
  for (const { name, paths = 0, skew = 0 } of CHOSEN) {
    const warm = paths && (!skew || name === 'purge');
    for (let path = 0; warm && path < paths; path += 1) {
      BASES.forEach((base) => http.get(`${base}/paths/${path}`, { headers: HEADERS }));
    }
    let [took, asked] = [0, 0];
    for (; asked < 100; asked += 1) {
      const what = warm ? `/paths/${drawn(name)}` : `/idle/${name}/${data.run}/${asked}`;
      took += http.get(address(what, asked), { headers: HEADERS }).timings.duration;
    }
    data.alone[name] = took / asked;
  }
  return data;
}

export function ask(data) {
  const { name, progress } = exec.scenario;
  const { clients, thresholds: bounds } = BY_NAME[name];
  if (exec.vu.iterationInScenario === 0) counts.connections.add(1);
  const answer = http.get(address(target(name, data), exec.vu.idInTest), { headers: HEADERS });
  const verdict = answer.headers['X-Cache'] || '';
  const collapsed = (answer.headers['Cache-Status'] || '').includes('collapsed');
  const hit = FROM_STORE.includes(verdict);
  rates.errors.add(answer.status !== 200);
  rates.hits.add(hit);
  fetched.add(verdict === 'MISS' && !collapsed ? 1 : 0);
  if (bounds.slowdown) slow.add(answer.timings.duration > bounds.slowdown.most * clients * data.alone[name]);
  if (name === 'redis_kill' && progress < 1 / 3) rates.hits_before.add(hit);
  if (name === 'redis_kill' && progress > 2 / 3) {
    rates.hits_after.add(hit);
    counts.redis_after.add(answer.headers['X-Cache-Tier'] === 'redis' ? 1 : 0);
  }
}

// What is asked for after the 200 has to be made after the purge was sent, whichever instance answers.
export function purge() {
  const path = `/paths/${exec.vu.iterationInScenario % BY_NAME.purge.paths}`;
  const headers = { Authorization: `Bearer ${__ENV.TOKEN}`, 'Content-Type': 'application/json' };
  const sent = Date.now();
  const body = JSON.stringify({ url: `http://${LIST.host}${path}` });
  const receipt = http.post(`${address('/cache/purge', exec.vu.iterationInScenario)}`, body, { headers });
  const tags = { scenario: 'purge' };
  counts.purges.add(receipt.status === 200 ? 1 : 0, tags);
  for (const base of receipt.status === 200 ? BASES : []) {
    const made = Number(http.get(base + path, { headers: HEADERS }).headers['X-Made']) * 1000;
    counts.stale.add(made < sent - 1 ? 1 : 0, tags);
  }
  sleep(1 / PURGES);
}
