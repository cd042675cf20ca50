// Talking to the hub: every call carries the token of the address's fragment.

/** The token in the address, or null. */
export function token() {
  return new URLSearchParams(location.hash.slice(1)).get("token");
}

export const headers = () => ({ Authorization: `Bearer ${token() ?? ""}` });

/** What the hub answers, null for nothing. `body`: JSON as text. Throws an Error whose message can be shown. */
async function ask(method, path, body, more = {}) {
  let response;
  try {
    const content = body === undefined ? {} : { "Content-Type": "application/json" };
    response = await fetch(`api/devices${path}`, { method, headers: { ...headers(), ...content, ...more }, body });
  } catch {
    throw new Error("Not sent: the hub cannot be reached.");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new Error(answer?.error ?? `Not done: the hub answered ${response.status}.`);
    error.status = response.status;
    throw error;
  }
  return answer;
}

const of = (device, what = "") => `/${encodeURIComponent(device)}${what}`;

/** Queues a command as a message. */
export async function sendCommand(device, command) {
  await ask("POST", of(device, "/commands"), JSON.stringify(command));
}

/**
 * Calls a command as a direct method and waits for its end; that the device is offline or does not answer is the
 * list's to show.
 */
export async function callCommand(device, { command, ...rest }) {
  try {
    await callMethod(device, command, JSON.stringify({ ...rest, id: crypto.randomUUID() }));
  } catch (error) {
    if (error.status !== 404 && error.status !== 504) throw error;
  }
}

/** Calls a direct method: {status, payload}. `payload`: JSON as text; `timeouts`: as the hub's call names them. */
export function callMethod(device, name, payload, timeouts = {}) {
  const rest = Object.entries(timeouts).map(([key, seconds]) => `, ${JSON.stringify(key)}: ${seconds}`).join("");
  return ask("POST", of(device, "/methods"), `{"methodName": ${JSON.stringify(name)}, "payload": ${payload}${rest}}`);
}

export const createDevice = (deviceId) => ask("POST", "", JSON.stringify({ deviceId }));

export const setEnabled = (device, enabled) => ask("PUT", of(device, "/enabled"), JSON.stringify({ enabled }));

export const deleteDevice = (device) => ask("DELETE", of(device));

/** The connection string, with the device's key in it. */
export const connectionString = async (device) => (await ask("GET", of(device, "/connection-string"))).connectionString;

/** A message as the hub received it. */
export const readMessage = (device, sequence) => ask("GET", of(device, `/messages/${sequence}`));

/** The twin: {etag, version, tags, desired, reported}, the last three {text, version}. */
export const readTwin = (device) => ask("GET", of(device, "/twin"));

/** Saves tags and desired properties, JSON as text, unless the twin is not the one of that ETag any more (412). */
export const saveTwin = (device, etag, { tags, desired }) =>
  ask("PUT", of(device, "/twin"), `{"tags": ${tags}, "desired": ${desired}}`, { "If-Match": `"${etag}"` });
