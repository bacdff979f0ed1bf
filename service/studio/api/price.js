// What an edit will cost, in plain generations, as the server estimates it.

import { postJson } from "./client.js";

/** The cost of an edit of `source` by `transfer`: the least of what the artifacts in `kept` allow,
 * or of running the source again. */
export async function priceOf(source, transfer, kept) {
  const estimate = await postJson("attention/estimate", { video: { id: source.id }, transfer });
  const costs = kept.map(
    ({ form }) => estimate.forms.find((each) => each.form === form)?.edit_cost,
  );
  return Math.min(estimate.replay_cost, ...costs.filter(Number.isFinite));
}
