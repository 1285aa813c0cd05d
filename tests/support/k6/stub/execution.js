export default {
  get vu() {
    return globalThis.k6.vu;
  },
  get scenario() {
    return globalThis.k6.scenario;
  },
};
