// Plays videos in sync. The first one leads; the others follow its position, by a small change of
// their playback rate if they are near it, else by a seek. Positions are counted in frames, so
// videos of different fps stay together.

const JUMP_S = 0.3;
const PULL = 2; // change of the playback rate for each second of distance

export class Player extends EventTarget {
  #videos = []; // {element, fps, frames}
  #seeking = null;
  loop = true;
  rate = 1;
  playing = false;

  /** The videos to play: `[{element, fps, frames}]`, the leader first. */
  set videos(videos) {
    const known = new Set(this.#videos.map((video) => video.element));
    const position = this.position;
    for (const video of this.#videos)
      if (!videos.some((each) => each.element === video.element)) video.element.pause();
    this.#videos = videos;
    for (const video of videos) if (!known.has(video.element)) this.#join(video, position);
  }

  get frames() {
    return this.#videos[0]?.frames ?? 0;
  }

  /** The leader's position in frames, with a fraction. */
  get position() {
    const leader = this.#videos[0];
    return leader ? leader.element.currentTime * leader.fps : 0;
  }

  get frame() {
    return Math.max(0, Math.min(this.frames - 1, Math.floor(this.position + 0.01)));
  }

  async play() {
    this.playing = true;
    if (this.position >= this.frames - 0.5) await this.#seekAll(0);
    if (this.playing) this.#start();
    this.#told();
  }

  pause() {
    this.playing = false;
    for (const { element } of this.#videos) element.pause();
    this.#told();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Pause at `frame`; resolves when every video shows it. */
  async show(frame) {
    if (this.playing) this.pause();
    // seek to the middle of the frame: at its edge some show the frame before
    await this.#seekAll(Math.max(0, Math.min(this.frames - 1, frame)) + 0.5);
  }

  step(frames) {
    return this.show(this.frame + frames);
  }

  async #seekAll(position) {
    this.#seeking = Promise.all(this.#videos.map((video) => seek(video, position)));
    await this.#seeking;
    this.#told();
  }

  #join(video, position) {
    video.element.muted = true;
    const start = async () => {
      await seek(video, position);
      if (this.playing) this.#start();
      else this.#told();
    };
    if (video.element.readyState >= HTMLMediaElement.HAVE_METADATA) start();
    else video.element.addEventListener("loadedmetadata", start, { once: true });
  }

  #start() {
    for (const video of this.#videos) {
      video.element.playbackRate = this.#pace(video);
      video.element.play().catch(() => {}); // a pause came first
    }
    cancelAnimationFrame(this.ticking);
    this.ticking = requestAnimationFrame(() => this.#tick());
  }

  #tick() {
    if (!this.playing) return;
    const [leader, ...others] = this.#videos;
    if (!leader) return;
    if (leader.element.ended) return this.#atEnd();
    leader.element.playbackRate = this.#pace(leader);
    for (const video of others) this.#follow(video);
    this.#told();
    this.ticking = requestAnimationFrame(() => this.#tick());
  }

  #follow(video) {
    const { element } = video;
    if (element.readyState < HTMLMediaElement.HAVE_METADATA || element.seeking) return;
    const late = this.position / video.fps - element.currentTime;
    if (Math.abs(late) > JUMP_S) element.currentTime = this.position / video.fps;
    else element.playbackRate = this.#pace(video) * Math.max(0.5, Math.min(1.5, 1 + PULL * late));
  }

  async #atEnd() {
    if (!this.loop) return this.pause();
    await this.#seekAll(0);
    if (this.playing) this.#start();
  }

  #pace(video) {
    return (this.rate * this.#videos[0].fps) / video.fps;
  }

  #told() {
    this.dispatchEvent(new Event("frame"));
  }
}

function seek({ element, fps }, position) {
  const wanted = position / fps;
  if (
    element.readyState < HTMLMediaElement.HAVE_METADATA ||
    Math.abs(element.currentTime - wanted) < 1e-4
  )
    return null;
  return new Promise((resolve) => {
    element.addEventListener("seeked", resolve, { once: true });
    element.currentTime = wanted;
  });
}
