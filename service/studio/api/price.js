// What an edit will cost, in plain generations, as the server estimates it.

import { postJson } from "./client.js";

/** The costs of an edit of `source` by `transfer`: `replayed` if the source is run again, `stored` if
 * one of the artifacts in `kept` has what the edit reads. Without artifacts they are equal. */
export async function priceOf(source, transfer, kept) {
  const estimate = await postJson("attention/estimate", { video: { id: source.id }, transfer });
  const costs = kept.map(
    ({ form }) => estimate.forms.find((each) => each.form === form)?.edit_cost,
  );
  const replayed = estimate.replay_cost;
  return { replayed, stored: Math.min(replayed, ...costs.filter(Number.isFinite)) };
}
