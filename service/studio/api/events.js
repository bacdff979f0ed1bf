// Server-sent events (the HTML standard's text/event-stream) over fetch, since EventSource can send
// no key. A stream that breaks is resumed after the last event that was received.

import { ApiError, send } from "./client.js";
import { sleep } from "./connection.js";

const ENDS = ["completed", "failed"];
const AGAIN_MS = 500;

/** Call `heard({id, type, data})` for each event of a job until it has ended, or until `signal`
 * aborts. `cursor.lastId` is the last event received: pass the same object to resume there. */
export async function follow(videoId, heard, { signal, cursor = {} } = {}) {
  while (!signal?.aborted) {
    try {
      const headers = cursor.lastId ? { "last-event-id": cursor.lastId } : {};
      const response = await send("GET", `videos/${videoId}/events`, { headers, signal });
      if (response.status === 204) return;
      for await (const event of events(response.body)) {
        cursor.lastId = event.id;
        heard(event);
        if (ENDS.includes(event.type)) return;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof ApiError && error.status !== 429 && error.status < 500) throw error;
    }
    await sleep(AGAIN_MS, signal).catch(() => {});
  }
}

async function* events(body) {
  let text = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      yield* blocks.map(eventOf).filter((event) => event.type);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return { id: fields.id, type: fields.event, data: fields.data ? JSON.parse(fields.data) : {} };
}

/** When an event was written, in ms since 1970: the first part of its id. */
export const timeOf = (event) => Number(event.id.split("-")[0]);
