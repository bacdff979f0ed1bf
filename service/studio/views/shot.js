// The videos of one shot: which of them are shown together, and the request for a plain
// re-generation to compare an edit with.

export const PLAIN = "Plain re-generation";
const SHOWN_EDITS = 5; // of those that existed before this visit
const SETTINGS = ["model", "seed", "size", "num_frames", "num_inference_steps"];
const OWN = ["prompt", "negative_prompt", "guidance_scale"];

/** `[{id, role}]` to show: the source, then its edits, each followed by its plain re-generation if
 * there is one. `fresh`: ids to show in any case; `hidden`: ids to leave out. */
export function orderOf(source, videos, { fresh, hidden }) {
  const order = [{ id: source.id, role: "Source" }];
  for (const edit of editsOf(source, videos, fresh)) {
    const plain = plainOf(edit, videos);
    for (const [video, role] of [
      [edit, "Edit"],
      [plain, PLAIN],
    ])
      if (video && !hidden.has(video.id) && !order.some(({ id }) => id === video.id))
        order.push({ id: video.id, role });
  }
  return order;
}

/** The video to begin with: the newest generation that is not there for comparison only. */
export function firstSource(videos) {
  const edits = videos.filter((video) => video.transfer);
  const made = videos.filter((video) => !video.transfer);
  return made.find((video) => !edits.some((edit) => isPlainOf(video, edit))) ?? videos[0];
}

/** Oldest first; `videos` are sorted newest first. */
function editsOf(source, videos, fresh) {
  return videos
    .filter((video) => video.remixed_from_video_id === source.id)
    .filter((video, index) => fresh.has(video.id) || index < SHOWN_EDITS)
    .reverse();
}

/** The plain re-generation of `edit`, if it was made. */
export function plainOf(edit, videos) {
  const isSource = (video) => video.id === edit.remixed_from_video_id;
  return videos.find((video) => !isSource(video) && isPlainOf(video, edit));
}

function isPlainOf(plain, edit) {
  return !plain.transfer && [...SETTINGS, ...OWN].every((name) => plain[name] === edit[name]);
}

/** The edit's prompt and settings without the source's attention. */
export function plainRequest(edit) {
  const names = [...SETTINGS, ...OWN, "fps", ...(edit.loras.length ? ["loras"] : [])];
  return { ...Object.fromEntries(names.map((name) => [name, edit[name]])), capture: false };
}
