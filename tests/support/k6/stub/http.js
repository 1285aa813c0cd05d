// What k6 gives back of an answer, as far as our script reads it. https://grafana.com/docs/k6 (javascript-api/k6-http)
function asked(method, url, body, params = {}) {
  const { headers = {}, ...unknown } = params;
  if (Object.keys(unknown).length) throw new Error(`not in this stand-in: ${Object.keys(unknown)}`);
  return globalThis.k6.ask({ method, url, body, headers });
}

export default {
  get: (url, params) => asked('GET', url, null, params),
  post: (url, body, params) => asked('POST', url, body, params),
};
