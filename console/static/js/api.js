// Asking the console's server. An error carries a sentence that can be shown.

async function read(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Error(`the console answered ${response.status} without JSON`);
  }
  if (body.status === "success") return body.data;
  throw new Error(body.error || `the console answered ${response.status}`);
}

/** GET below /api; resolves to the answer's data. */
export async function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  return read(await fetch(`api/${path}${query ? `?${query}` : ""}`, { signal, cache: "no-store" }));
}

/** POST JSON below /api; resolves to the answer's data. */
export async function post(path, body, signal = undefined) {
  const headers = { "Content-Type": "application/json" };
  return read(await fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body), signal, cache: "no-store" }));
}
