// The words that differ between two prompts, by their longest common subsequence.

import { el } from "./dom.js";

/** `[{text, kind}]` in reading order; kind is same, gone or new, and never twice in a row. */
export function changes(before, after) {
  const [from, to] = [before, after].map(words);
  const longest = lengths(from, to);
  const found = [];
  const add = (text, kind) => {
    if (found.at(-1)?.kind === kind) found.at(-1).text += text;
    else found.push({ text, kind });
  };
  for (let i = 0, j = 0; i < from.length || j < to.length;) {
    if (i < from.length && j < to.length && same(from[i], to[j])) {
      add(to[j], "same");
      i += 1;
      j += 1;
    } else if (i < from.length && (j === to.length || longest[i + 1][j] >= longest[i][j + 1]))
      add(from[i++], "gone");
    else add(to[j++], "new");
  }
  return found;
}

/** Words and punctuation marks, each with the space before it. */
const words = (text) => text.trim().match(/\s*(?:[\p{L}\p{N}]+|[^\s])/gu) ?? [];
const same = (one, other) => one.trimStart() === other.trimStart();

/** lengths[i][j]: length of the longest common subsequence of from[i…] and to[j…]. */
function lengths(from, to) {
  const found = Array.from({ length: from.length + 1 }, () => new Uint16Array(to.length + 1));
  for (let i = from.length - 1; i >= 0; i -= 1)
    for (let j = to.length - 1; j >= 0; j -= 1)
      found[i][j] = same(from[i], to[j])
        ? found[i + 1][j + 1] + 1
        : Math.max(found[i + 1][j], found[i][j + 1]);
  return found;
}

/** The prompt `after` with its changes against `before` marked. */
export function marked(before, after) {
  const tags = { same: "span", gone: "del", new: "ins" };
  const parts = changes(before, after).flatMap(({ text, kind }) => {
    const bare = text.trimStart(); // the space between words is not part of the change
    return [bare === text ? "" : " ", el(tags[kind], {}, bare)];
  });
  return el("span", { class: "words" }, parts);
}
