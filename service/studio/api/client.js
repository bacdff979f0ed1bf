// Requests to the API. Each carries the key if there is one; if the server wants one, the user is
// asked. A request that gets no answer is sent again when the server is back: every POST that
// creates something has an Idempotency-Key, so nothing is created twice.

import { askForKey } from "../parts/dialogs.js";
import { lost, sleep } from "./connection.js";

const KEY = "retake.key";
export const base = new URL("v1/", document.baseURI);

/** An error answer: the message is the server's own; `param` names the field, or is null. */
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

/** Send a request and return its response; throws ApiError for an error status. */
export async function send(method, path, { body, query, headers, signal } = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
  const isForm = body instanceof FormData; // its type, with a boundary, is the browser's to write
  const sent = body === undefined || isForm ? body : JSON.stringify(body, exactNumbers);
  for (;;) {
    const secret = key.get();
    const response = await attempt(url, {
      method,
      signal,
      body: sent,
      headers: {
        ...(sent === undefined || isForm ? {} : { "content-type": "application/json" }),
        ...(secret ? { authorization: `Bearer ${secret}` } : {}),
        ...headers,
      },
    });
    if (response === null) await lost(signal);
    else if (response.status !== 401) return answered(response);
    else await newKey(await errorOf(response), secret);
  }
}

/** The response; null if there is none, or only one from a proxy whose server is down. */
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
  let error = {
    message: `The server answered with status ${response.status}`,
    code: null,
    param: null,
  };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // not JSON: the status says all there is to say
  }
  return new ApiError(response.status, error, retryAfterS);
}

/** Ask the user for a key, once for all waiting requests; throws `refused` if none is given. */
async function newKey(refused, used) {
  if (key.get() !== used) return; // it has changed since
  asking ??= askForKey(refused.message).finally(() => (asking = null));
  const given = await asking;
  if (given === null) throw refused;
  sessionStorage.setItem(KEY, given);
  dispatchEvent(new Event("retake:key"));
}

/** Send, and `read` the whole body; if the connection breaks within the body, send again. */
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

export const getBlob = (path, options) =>
  whole("GET", path, options, (response) => response.blob());

/** POST to a route that creates nothing, so it may be sent twice. */
export const postJson = (path, body, options) => whole("POST", path, { ...options, body }, json);

/** POST a form with a file. The same file again is the same upload, so it may be sent twice. */
export const postForm = (path, form) => whole("POST", path, { body: form }, json);

/** POST to a route that creates something; it does so once, however often it is sent. */
export function submit(path, body, options) {
  return postJson(path, body, { ...options, headers: { "idempotency-key": randomKey() } });
}

// crypto.randomUUID does not exist on pages from plain http
function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

/** All entries of a paged list, up to about `limit`. */
export async function listAll(path, limit = 1000) {
  const found = [];
  for (let query = { limit: 100 }; ; query = { limit: 100, after: found.at(-1).id }) {
    const page = await getJson(path, { query });
    found.push(...page.data);
    if (!page.has_more || found.length >= limit) return found;
  }
}

/** Repeat `call` as long as it fails with the error `code`, waiting as the server asks. */
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

// Seeds go up to 2^63 - 1; those that a number cannot hold exactly become BigInts
function parse(text) {
  return JSON.parse(text, (name, value, context) =>
    name === "seed" && !Number.isSafeInteger(value) && context?.source
      ? BigInt(context.source)
      : value,
  );
}

function exactNumbers(_name, value) {
  return typeof value === "bigint" ? JSON.rawJSON(String(value)) : value;
}
