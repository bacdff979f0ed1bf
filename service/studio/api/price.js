// What an edit takes, in plain generations, as the server works it out: by what is kept of its
// source's attention, or by the source run beside it.

import { postJson } from "./client.js";

/** The price of an edit of `source` by `transfer`; `kept`: the artifacts of the source, if any. */
export async function priceOf(source, transfer, kept) {
  const estimate = await postJson("attention/estimate", { video: { id: source.id }, transfer });
  const costs = kept.map(({ form }) => estimate.forms.find((each) => each.form === form)?.edit_cost);
  return Math.min(estimate.replay_cost, ...costs.filter(Number.isFinite));
}

export const priceText = (price) => `${price.toFixed(price < 0.995 ? 2 : 1)} × a generation`;
