// Code in Python and curl that makes a video again, to the byte. It writes out the whole recipe, and
// those of all sources for an edit, so it works after everything was deleted.

import { base, key } from "./client.js";

// Settings that an edit takes from its source, and settings of its own
const SHARED = ["model", "seed", "size", "num_frames", "num_inference_steps", "loras"];
const OWN = ["negative_prompt", "guidance_scale", "fps"];

/** The requests that make `video`: `[{path, body}]`. `links`: its lineage, itself first. In a body,
 * `"$video"` stands for the id that the request before returned. */
export function stepsOf(video, links) {
  const source = links.length > 1 ? links.at(-1) : null;
  const root = {
    ...pick(video, [...SHARED, ...OWN]),
    ...(source ? pick(source, ["prompt", ...OWN]) : { prompt: video.prompt }),
  };
  if (!source) return [{ path: "videos", body: ordered(root) }];
  const edits = links
    .slice(0, -1)
    .reverse()
    .map((link, index) => ({
      path: "videos/edits",
      body: {
        ...(index ? { video: { id: "$video" } } : { source: ordered(root) }), // first, see below
        prompt: link.prompt,
        transfer: plain(link.transfer),
        ...pick(index === links.length - 2 ? video : link, OWN),
      },
    }));
  return edits;
}

function ordered(body) {
  return pick(body, ["prompt", ...SHARED, ...OWN]);
}

/** The fields `names` of `from`, without those it does not have and without an empty `loras`. */
function pick(from, names) {
  return Object.fromEntries(
    names
      .filter((name) => from[name] !== undefined && !(name === "loras" && !from[name].length))
      .map((name) => [name, from[name]]),
  );
}

/** The transfer with its nulls, which would otherwise be filled from a preset. */
function plain(transfer) {
  return Object.fromEntries(Object.entries(transfer).filter(([name]) => name !== "preset"));
}

// In a body with a `video`, the first "$video" is the placeholder, whatever prompts follow it
const url = (path) => new URL(path, base).href;

export function curlOf(steps) {
  const auth = key.get() ? ` \\\n  -H "authorization: Bearer $RETAKE_API_KEY"` : "";
  return steps
    .map(({ path, body }, index) => {
      const quoted = text(body).replaceAll("'", `'\\''`);
      const json = body.video ? quoted.replace('"$video"', `"'"$video"'"`) : quoted;
      const post = `curl -s ${url(path)}${auth} \\\n  -H 'content-type: application/json' \\\n  -d '${json}'`;
      if (index === steps.length - 1) return post;
      const wait = `curl -s "${url("videos/")}$video?wait=60"${auth} > /dev/null  # until it has ended`;
      return `video=$(${post} | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')\n${wait}\n`;
    })
    .join("\n");
}

export function pythonOf(steps) {
  const made = steps.map(({ path, body }) => {
    const written = python(body, "    ");
    const literal = body.video ? written.replace('"$video"', "video.id") : written;
    return `video = client.post(\n    "/${path}",\n    body=${literal},\n    cast_to=Video,\n)\nvideo = client.videos.poll(video.id)`;
  });
  const secret = key.get() ? 'os.environ["RETAKE_API_KEY"]' : '"unused"';
  return [
    ...(key.get() ? ["import os", ""] : []),
    "from openai import OpenAI",
    "from openai.types import Video",
    "",
    `client = OpenAI(base_url="${base.href.replace(/\/$/, "")}", api_key=${secret})`,
    ...made,
    'client.videos.download_content(video.id).write_to_file("video.mp4")',
    "",
  ].join("\n");
}

function text(value) {
  return JSON.stringify(
    value,
    (_name, each) => (typeof each === "bigint" ? JSON.rawJSON(String(each)) : each),
    1,
  ).replaceAll(/\n */g, " ");
}

/** `value` as a Python literal. Every JSON string is a Python string too. */
function python(value, indent) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, indent)).join(", ")}]`;
  if (typeof value !== "object")
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  const inner = `${indent}    `;
  const lines = Object.entries(value).map(
    ([name, each]) => `${inner}${JSON.stringify(name)}: ${python(each, inner)},\n`,
  );
  return `{\n${lines.join("")}${indent}}`;
}
