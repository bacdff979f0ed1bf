// An attention map's picture read back as numbers: the API colours the logarithm of the weights,
// three decades, by the five colours below (workers/analysis/heatmap.py).

const DECADES = 3;
const COLOURS = [
  [0, 0, 0, 4],
  [0.25, 87, 16, 110],
  [0.5, 188, 55, 84],
  [0.75, 249, 142, 9],
  [1, 252, 255, 164],
];
const SAMPLES = Array.from({ length: 512 }, (_, index) => [index / 511, ...colourAt(index / 511)]);

function colourAt(value) {
  const upper = COLOURS.findIndex(([at]) => at >= value) || 1;
  const [[from, ...low], [to, ...high]] = [COLOURS[upper - 1], COLOURS[upper]];
  return low.map((channel, index) => channel + ((high[index] - channel) * (value - from)) / (to - from));
}

function valueOf(red, green, blue) {
  let best = 0;
  let least = Infinity;
  for (const [value, r, g, b] of SAMPLES) {
    const distance = (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;
    if (distance < least) [least, best] = [distance, value];
  }
  return best;
}

/** The map of `bins` cells a side that a picture shows. */
export class HeatMap {
  #cells;

  /** `bitmap`: the picture; a cell is a square of its pixels. */
  constructor(bitmap, bins) {
    this.bins = bins;
    this.bitmap = bitmap;
    const canvas = new OffscreenCanvas(bins, bins);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, 0, 0, bins, bins);
    this.#cells = context.getImageData(0, 0, bins, bins).data;
  }

  /** A row's weights, as shares of its largest: Float32Array of `bins`. */
  row(cell) {
    const found = new Float32Array(this.bins);
    for (let column = 0; column < this.bins; column += 1) {
      const at = 4 * (cell * this.bins + column);
      found[column] = 10 ** (DECADES * (valueOf(this.#cells[at], this.#cells[at + 1], this.#cells[at + 2]) - 1));
    }
    const top = Math.max(...found);
    return found.map((weight) => weight / top);
  }
}

/** Which cell a token falls into: tokens are pooled in their order. */
export const cellOf = (token, tokens, bins) => Math.floor((token * bins) / tokens);

/** How bright a share of a row's largest weight is drawn, 0 to 1: its logarithm, a decade and a half. */
export const brightness = (share) => Math.max(0, 1 + Math.log10(Math.max(share, 1e-9)) / 1.5);
