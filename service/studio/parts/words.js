// What changed between two prompts, word by word: the longest common subsequence of their words.

import { el } from "./dom.js";

/** `[{text, kind}]` with kind same, gone or new, in reading order. */
export function changes(before, after) {
  const [from, to] = [before, after].map((text) => text.trim().split(/\s+/).filter(Boolean));
  // longest[i][j]: of from[i…] and to[j…]
  const longest = Array.from({ length: from.length + 1 }, () => new Uint16Array(to.length + 1));
  for (let i = from.length - 1; i >= 0; i -= 1)
    for (let j = to.length - 1; j >= 0; j -= 1)
      longest[i][j] = from[i] === to[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const found = [];
  for (let i = 0, j = 0; i < from.length || j < to.length; ) {
    if (i < from.length && j < to.length && from[i] === to[j]) {
      found.push({ text: to[j], kind: "same" });
      i += 1;
      j += 1;
    } else if (i < from.length && (j === to.length || longest[i + 1][j] >= longest[i][j + 1])) found.push({ text: from[i++], kind: "gone" });
    else found.push({ text: to[j++], kind: "new" });
  }
  return found;
}

/** The prompt `after` with its changes against `before` marked. */
export function marked(before, after) {
  const tags = { same: "span", gone: "del", new: "ins" };
  const words = changes(before, after).map(({ text, kind }) => el(tags[kind], {}, text));
  return el("span", { class: "words" }, words.flatMap((word) => [word, " "]).slice(0, -1));
}
