// The server's HTTP interface. Knows requests, the token, errors and event streams; does not know
// the page. Every address is relative, so that the page works below any path.

import { countdown } from "./countdown.js";

// An error response: HTTP status, code, and seconds after which to try again.
export class Refused extends Error {
  constructor(message, status, { code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

// No response at all, or one that broke off.
export class Unreachable extends Error {}

const KEY = "token";
const BUSY = [429, 503];
let token = storedToken();
let askForToken = null; // async (wrong: boolean) => string | null

function storedToken() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // storage is forbidden here: the token lasts until the page is left
  }
}

export function onTokenNeeded(ask) {
  askForToken = ask;
}

// Asks for another token before one is needed → whether the person gave one. A wrong token is
// forgotten if the dialog is left.
export async function replaceToken(wrong) {
  const entered = await askForToken(wrong);
  if (entered !== null || wrong) storeToken(entered ?? "");
  return entered !== null;
}

// The address of a path "/v1/…" of this server, below this page; null for any other path.
export function ownAddress(path) {
  if (!/^\/v1\/[^\\]*$/.test(String(path))) return null;
  const address = new URL(`.${path}`, document.baseURI);
  return address.href.startsWith(new URL("./v1/", document.baseURI).href) ? address.href : null;
}

// Sends one request, as JSON if there is a body. Asks for a token if the server needs one. If the
// server is busy, tries again when it says; meanwhile calls `waiting(sentence)` every second.
export async function request(path, { body, signal, waiting = () => {} } = {}) {
  const address = ownAddress(path);
  if (address === null) throw new Refused("The server named an address that is not its own.", 0);
  for (;;) {
    const sent = token;
    const response = await sendRequest(address, body, signal);
    if (response.ok) return response;
    if (response.status === 401 && askForToken !== null) {
      // Another request may have asked for it meanwhile.
      const entered = sent === token ? await askForToken(sent !== "") : token;
      if (entered === null) throw new Refused("This needs the server's token.", 401);
      storeToken(entered);
      continue;
    }
    const refused = await readError(response);
    if (!BUSY.includes(refused.status) || refused.retryAfter === null) throw refused;
    const why = refused.status === 503 ? "The server is not ready yet" : "The server is busy";
    await countdown(refused.retryAfter, signal, (left) =>
      waiting(`${why}. Trying again in ${left === 1 ? "1 second" : `${left} seconds`}`),
    );
  }
}

export const requestBlob = async (path) => (await request(path)).blob();

export async function requestJson(path, options) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable("The connection broke off.");
  }
}

// Yields the objects of a stream of server-sent events, up to `data: [DONE]`.
export async function* requestEvents(path, options) {
  const response = await request(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await readPiece(reader);
    if (done) throw new Unreachable("The connection broke off.");
    const lines = (waiting + value).split(/\r\n|\n/);
    waiting = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = parseEvent(data);
      if (event.error) throw new Refused(event.error.message, response.status);
      yield event;
    }
  }
}

function parseEvent(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Unreachable("The server's answer was cut off.");
  }
}

async function readPiece(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable("The connection broke off.");
  }
}

async function sendRequest(address, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, signal, credentials: "same-origin", referrerPolicy: "same-origin" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The server cannot be reached. Is rag-vqa serve still running?");
  }
}

async function readError(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // An error of something in between, such as a proxy, is not JSON: its status is enough.
  }
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const retryAfter = Number.isNaN(seconds) ? null : Math.max(1, seconds);
  const message = error.message ?? `The server answered ${response.status}.`;
  return new Refused(message, response.status, { code: error.code, retryAfter });
}

function storeToken(entered) {
  token = entered;
  try {
    sessionStorage.setItem(KEY, entered);
  } catch {
    // as above
  }
}
