class Metric {
  constructor(name) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_]{1,128}$/.test(name)) throw new Error(`no name of a metric: ${name}`);
    this.name = name;
    globalThis.k6.declare(name, this.constructor.name);
  }

  add(value, tags = {}) {
    if (Number.isNaN(Number(value))) throw new Error(`${this.name}: not a number: ${value}`);
    globalThis.k6.add(this.name, Number(value), tags);
  }
}

export class Counter extends Metric {}
export class Rate extends Metric {}
