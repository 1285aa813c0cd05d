// A stand-in for `k6 run SCRIPT`, as far as tests/load/k6.js uses k6: setup, constant VUs, counters, rates and bounds on
// them. Exit 99 when one was broken, as k6 does; an option or a bound that it does not know is an error.
//   node run.mjs SCRIPT NAME=VALUE...   (what `-e` would say)
import http from 'node:http';
import { MessageChannel, Worker } from 'node:worker_threads';

const [script, ...given] = process.argv.slice(2);
const env = Object.fromEntries(given.map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]));
const sums = new Map(); // of each metric and scenario: [sum, number of values]
const VU = new URL('./vu.mjs', import.meta.url);
const known = (of, names) => {
  const unknown = Object.keys(of).filter((name) => !names.includes(name));
  if (unknown.length) throw new Error(`unknown: ${unknown}`);
};

function user(told) {
  const { port1, port2 } = new MessageChannel();
  const signal = new Int32Array(new SharedArrayBuffer(4));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const data = { script, env, answers: port2, signal, ...told };
  const worker = new Worker(VU, { workerData: data, transferList: [port2] });
  return new Promise((done, failed) => {
    worker.on('error', failed);
    worker.on('message', async (message) => {
      if (!message.request) {
        agent.destroy();
        port1.close();
        done(message);
        return;
      }
      port1.postMessage(await asked(message.request, agent));
      Atomics.store(signal, 0, 1);
      Atomics.notify(signal, 0);
    });
  });
}

function asked({ method, url, body, headers }, agent) {
  const began = performance.now();
  return new Promise((done) => {
    const request = http.request(url, { method, headers, agent, timeout: 60_000 }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => done({
        status: answer.statusCode,
        headers: canonical(answer.rawHeaders),
        body: Buffer.concat(parts).toString(),
        timings: { duration: performance.now() - began },
      }));
      answer.on('error', () => done(none(began)));
    });
    request.on('error', () => done(none(began)));
    request.end(body ?? undefined);
  });
}

const none = (began) => ({ status: 0, headers: {}, body: '', timings: { duration: performance.now() - began } });

// As Go spells names: X-Cache, Etag.
function canonical(raw) {
  const fields = {};
  for (let at = 0; at < raw.length; at += 2) {
    fields[raw[at].toLowerCase().replace(/(^|-)[a-z]/g, (found) => found.toUpperCase())] = raw[at + 1];
  }
  return fields;
}

function note(noted) {
  for (const [metric, value, { scenario }] of noted) {
    const [sum, number] = sums.get(`${metric}{scenario:${scenario}}`) ?? [0, 0];
    sums.set(`${metric}{scenario:${scenario}}`, [sum + value, number + 1]);
  }
}

function broken(thresholds, declared) {
  return Object.entries(thresholds).flatMap(([metric, bounds]) => bounds.filter((bound) => {
    const [, kind, sign, value] = /^(count|rate)(<=|>=)([\d.]+)$/.exec(bound) ?? [];
    const name = metric.replace(/\{.*/, '');
    if (declared[name] !== { count: 'Counter', rate: 'Rate' }[kind]) throw new Error(`${metric}: ${bound}`);
    const [sum, number] = sums.get(metric) ?? [0, 0];
    const measured = kind === 'count' ? sum : sum / (number || 1);
    return !(sign === '<=' ? measured <= Number(value) : measured >= Number(value));
  }).map((bound) => `${metric}: ${bound}`));
}

const { options, data, declared, exported } = await user({ id: 0, name: '' });
known(options, ['scenarios', 'thresholds']);
let id = 0;
const courses = Object.entries(options.scenarios).map(async ([name, course]) => {
  known(course, ['executor', 'exec', 'vus', 'duration', 'gracefulStop', 'startTime']);
  if (course.executor !== 'constant-vus' || !exported.includes(course.exec)) throw new Error(`${name}: what is that?`);
  const seconds = Number.parseFloat(course.duration);
  await new Promise((begin) => setTimeout(begin, Number.parseFloat(course.startTime) * 1000));
  const users = Array.from({ length: course.vus }, () => user({ id: (id += 1), name, exec: course.exec, seconds, data }));
  for (const { noted } of await Promise.all(users)) note(noted);
});
await Promise.all(courses);
const wrong = broken(options.thresholds, declared);
console.log([...sums].map(([name, [sum, number]]) => `${name} ${sum} of ${number}`).join('\n'));
console.log(wrong.length ? wrong.map((each) => `broken: ${each}`).join('\n') : 'every bound kept');
process.exitCode = wrong.length ? 99 : 0;
