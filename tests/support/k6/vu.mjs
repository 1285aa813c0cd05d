// One virtual user: the script in a thread of its own, as in k6. It asks by way of `run.mjs`, and waits for the answer.
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';

const { script, env, id, name, exec, seconds, data, answers, signal } = workerData;
const began = Date.now();
const declared = {};
const noted = [];

globalThis.__ENV = env;
globalThis.open = (path) => readFileSync(resolve(dirname(script), path), 'utf8');
globalThis.k6 = {
  vu: { idInTest: id, iterationInScenario: 0 },
  scenario: { name, get progress() { return Math.min((Date.now() - began) / 1000 / seconds, 1); } },
  declare: (metric, kind) => { declared[metric] = kind; },
  add: (metric, value, tags) => noted.push([metric, value, { scenario: name, ...tags }]),
  ask: (request) => {
    Atomics.store(signal, 0, 0);
    parentPort.postMessage({ request });
    Atomics.wait(signal, 0, 0);
    return receiveMessageOnPort(answers).message;
  },
};

const module = await import(pathToFileURL(script));
delete globalThis.open; // k6 has it while the script is read, and not later
if (exec === undefined) {
  parentPort.postMessage({ options: module.options, data: await module.setup(), declared, exported: Object.keys(module) });
} else {
  for (; Date.now() - began < seconds * 1000; globalThis.k6.vu.iterationInScenario += 1) module[exec](data);
  parentPort.postMessage({ noted });
}
