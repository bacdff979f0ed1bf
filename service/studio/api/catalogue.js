// What the server offers: its models, and the attention that is stored.

import { getJson, listAll } from "./client.js";

const MODELS_MS = 30_000;

let modelsAsked = { at: -Infinity, list: null };
/** The models that the server offers. */
export function models() {
  if (performance.now() - modelsAsked.at > MODELS_MS) {
    const list = getJson("models").then(({ data }) => data);
    modelsAsked = { at: performance.now(), list };
    const forget = () => (modelsAsked.at = -Infinity);
    list.then((found) => found.length || forget(), forget); // a worker may be starting
  }
  return modelsAsked.list;
}

export async function modelOf(video) {
  return (await models()).find((model) => model.id === video.model) ?? null;
}

/** All attention artifacts, newest first. */
export const artifacts = () => listAll("attention/artifacts");
