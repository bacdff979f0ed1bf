// Films that play in step. The first leads by its own clock; the others are kept at its frame, by
// pace where they are near, by a jump where they are not. Positions are in frames, so that films of
// one shot stay together whatever their fps.

const JUMP_S = 0.3;
const PULL = 2; // of the pace, for each second that a film is off

export class Player extends EventTarget {
  #films = []; // {element, fps, frames}
  #seeking = null;
  loop = true;
  rate = 1;
  playing = false;

  /** Films that take part: `[{element, fps, frames}]`, the leader first. */
  set films(films) {
    const known = new Set(this.#films.map((film) => film.element));
    const position = this.position;
    for (const film of this.#films) if (!films.some((each) => each.element === film.element)) film.element.pause();
    this.#films = films;
    for (const film of films) if (!known.has(film.element)) this.#join(film, position);
  }

  get frames() {
    return this.#films[0]?.frames ?? 0;
  }

  /** Where the leader is, in frames and parts of one. */
  get position() {
    const leader = this.#films[0];
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
    for (const { element } of this.#films) element.pause();
    this.#told();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Stop at `frame`; resolves when every film shows it. */
  async show(frame) {
    if (this.playing) this.pause();
    // the middle of a frame: its edge may be shown as the one before
    await this.#seekAll(Math.max(0, Math.min(this.frames - 1, frame)) + 0.5);
  }

  step(frames) {
    return this.show(this.frame + frames);
  }

  async #seekAll(position) {
    this.#seeking = Promise.all(this.#films.map((film) => seek(film, position)));
    await this.#seeking;
    this.#told();
  }

  #join(film, position) {
    film.element.muted = true;
    const start = async () => {
      await seek(film, position);
      if (this.playing) this.#start();
      else this.#told();
    };
    if (film.element.readyState >= HTMLMediaElement.HAVE_METADATA) start();
    else film.element.addEventListener("loadedmetadata", start, { once: true });
  }

  #start() {
    for (const film of this.#films) {
      film.element.playbackRate = this.#pace(film);
      film.element.play().catch(() => {}); // a pause came first
    }
    cancelAnimationFrame(this.ticking);
    this.ticking = requestAnimationFrame(() => this.#tick());
  }

  #tick() {
    if (!this.playing) return;
    const [leader, ...others] = this.#films;
    if (!leader) return;
    if (leader.element.ended) return this.#atEnd();
    leader.element.playbackRate = this.#pace(leader);
    for (const film of others) this.#follow(film);
    this.#told();
    this.ticking = requestAnimationFrame(() => this.#tick());
  }

  #follow(film) {
    const { element } = film;
    if (element.readyState < HTMLMediaElement.HAVE_METADATA || element.seeking) return;
    const late = this.position / film.fps - element.currentTime;
    if (Math.abs(late) > JUMP_S) element.currentTime = this.position / film.fps;
    else element.playbackRate = this.#pace(film) * Math.max(0.5, Math.min(1.5, 1 + PULL * late));
  }

  async #atEnd() {
    if (!this.loop) return this.pause();
    await this.#seekAll(0);
    if (this.playing) this.#start();
  }

  #pace(film) {
    return (this.rate * this.#films[0].fps) / film.fps;
  }

  #told() {
    this.dispatchEvent(new Event("frame"));
  }
}

function seek({ element, fps }, position) {
  const wanted = position / fps;
  if (element.readyState < HTMLMediaElement.HAVE_METADATA || Math.abs(element.currentTime - wanted) < 1e-4) return null;
  return new Promise((resolve) => {
    element.addEventListener("seeked", resolve, { once: true });
    element.currentTime = wanted;
  });
}
