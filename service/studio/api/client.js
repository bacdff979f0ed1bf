// The API as the page speaks it: JSON and bytes, with the key where one is asked for. A request
// that meets no server waits for it and is sent again: GETs may be, and every POST that makes
// something has an Idempotency-Key, so that nothing is made twice.

import { askForKey } from "../parts/dialogs.js";
import { lost, sleep } from "./connection.js";

const KEY = "retake.key";
export const base = new URL("v1/", document.baseURI);

/** What the server refused, in its own words. `param`: the field at fault, or null. */
export class ApiError extends Error {
  constructor(status, error, retryAfterS) {
    super(error.message);
    Object.assign(this, { status, code: error.code, param: error.param, retryAfterS });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  forget: () => sessionStorage.removeItem(KEY),
};
let asking = null;

/** The response to a request, once there is one that is no error; else ApiError. */
export async function send(method, path, { body, query, headers, signal } = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
  const sent = body === undefined ? undefined : JSON.stringify(body, exactNumbers);
  for (;;) {
    const secret = key.get();
    const response = await attempt(url, {
      method,
      signal,
      body: sent,
      headers: {
        ...(sent === undefined ? {} : { "content-type": "application/json" }),
        ...(secret ? { authorization: `Bearer ${secret}` } : {}),
        ...headers,
      },
    });
    if (response === null) await lost(signal);
    else if (response.status !== 401) return answered(response);
    else await newKey(await errorOf(response), secret);
  }
}

/** Null where nothing answered, or only a proxy in front of nothing did. */
async function attempt(url, options) {
  try {
    const response = await fetch(url, options);
    return [502, 504].includes(response.status) ? null : response;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    return null;
  }
}

async function answered(response) {
  if (response.ok) return response;
  throw await errorOf(response);
}

async function errorOf(response) {
  const retryAfterS = Number(response.headers.get("retry-after")) || null;
  let error = { message: `The server answered with status ${response.status}`, code: null, param: null };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // not in the API's envelope: the status is all there is
  }
  return new ApiError(response.status, error, retryAfterS);
}

/** Ask for a key, once for all requests that want one; raises `refused` where none is given. */
async function newKey(refused, used) {
  if (key.get() !== used) return; // another request has a newer one already
  asking ??= askForKey(refused.message).finally(() => (asking = null));
  const given = await asking;
  if (given === null) throw refused;
  sessionStorage.setItem(KEY, given);
  dispatchEvent(new Event("retake:key"));
}

/** All of an answer, sent for again where it breaks off on its way. */
async function whole(method, path, options, read) {
  for (;;) {
    const response = await send(method, path, options);
    try {
      return await read(response);
    } catch (error) {
      if (options?.signal?.aborted || !(error instanceof TypeError)) throw error;
      await lost(options?.signal);
    }
  }
}

const json = async (response) => parse(await response.text());

export const getJson = (path, options) => whole("GET", path, options, json);

export const getBlob = (path, options) => whole("GET", path, options, (response) => response.blob());

/** POST, for what may be sent twice without harm. */
export const postJson = (path, body, options) => whole("POST", path, { ...options, body }, json);

/** POST that makes something: however often it has to be sent, it is made once. */
export function submit(path, body, options) {
  return postJson(path, body, { ...options, headers: { "idempotency-key": randomKey() } });
}

// not crypto.randomUUID: that is only there where the page came over https or from this machine
function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Every entry of a list, page by page, up to `limit`. */
export async function listAll(path, limit = 1000) {
  const found = [];
  for (let query = { limit: 100 }; ; query = { limit: 100, after: found.at(-1).id }) {
    const page = await getJson(path, { query });
    found.push(...page.data);
    if (!page.has_more || found.length >= limit) return found;
  }
}

/** `call` again while the server says that it is not ready, for as long as it asks to wait. */
export async function patiently(call, code, signal) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== code) throw error;
      await sleep(1000 * (error.retryAfterS ?? 1), signal);
    }
  }
}

// Seeds go up to 2^63 - 1, past what a number here holds exactly: those are BigInts in between
function parse(text) {
  return JSON.parse(text, (name, value, context) =>
    name === "seed" && !Number.isSafeInteger(value) && context?.source ? BigInt(context.source) : value,
  );
}

function exactNumbers(_name, value) {
  return typeof value === "bigint" ? JSON.rawJSON(String(value)) : value;
}
