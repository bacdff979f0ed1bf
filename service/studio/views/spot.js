// One spot of a video, as a token of its grid (frames, rows, columns), shown and set by numbers.

import { el } from "../parts/dom.js";
import { title } from "../parts/format.js";

const AXES = ["frame", "row", "column"];

export class Spot {
  #inputs;
  token = 0;

  /** Inputs within `container` for `grid`; `changed(token)` is called when the user sets one. */
  constructor(container, grid, changed) {
    this.grid = grid;
    const input = () => changed(this.#typed());
    this.#inputs = AXES.map((name, axis) =>
      el("input", { type: "number", name, min: 0, max: grid[axis] - 1, step: 1, value: 0, input }),
    );
    const label = (name, axis) =>
      el("label", { class: "field inline" }, el("span", {}, title(name)), this.#inputs[axis]);
    container.replaceChildren(...AXES.map(label));
    this.show(this.#tokenOf(grid.map((side) => Math.floor(side / 2))));
  }

  get tokens() {
    return this.grid.reduce((product, side) => product * side, 1);
  }

  /** Show `token`; a number that the user is typing is left as it is. */
  show(token) {
    this.token = token;
    const [, rows, columns] = this.grid;
    const at = [
      Math.floor(token / (rows * columns)),
      Math.floor(token / columns) % rows,
      token % columns,
    ];
    this.#inputs.forEach((input, axis) => {
      if (document.activeElement !== input) input.value = at[axis];
    });
  }

  #typed() {
    const whole = (input) => Math.floor(Number(input.value)) || 0;
    return this.#tokenOf(
      this.#inputs.map((input, axis) => Math.max(0, Math.min(this.grid[axis] - 1, whole(input)))),
    );
  }

  #tokenOf([frame, row, column]) {
    const [, rows, columns] = this.grid;
    return (frame * rows + row) * columns + column;
  }
}
