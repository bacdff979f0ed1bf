// Reads the picture of an attention map back into weights. The API colours the logarithm of the
// weights over three decades, with the colours below (workers/analysis/heatmap.py).

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
  return low.map(
    (channel, index) => channel + ((high[index] - channel) * (value - from)) / (to - from),
  );
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

/** A map of `bins` by `bins` cells. */
export class HeatMap {
  #cells;

  /** `bitmap`: its picture, in which each cell is a square of pixels. */
  constructor(bitmap, bins) {
    this.bins = bins;
    this.bitmap = bitmap;
    const canvas = new OffscreenCanvas(bins, bins);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, 0, 0, bins, bins);
    this.#cells = context.getImageData(0, 0, bins, bins).data;
  }

  /** The weights of a row as shares of its largest: Float32Array of length `bins`. */
  row(cell) {
    const found = new Float32Array(this.bins);
    for (let column = 0; column < this.bins; column += 1) {
      const at = 4 * (cell * this.bins + column);
      found[column] =
        10 ** (DECADES * (valueOf(this.#cells[at], this.#cells[at + 1], this.#cells[at + 2]) - 1));
    }
    const top = Math.max(...found);
    return found.map((weight) => weight / top);
  }
}

/** The cell that a token is pooled into. */
export const cellOf = (token, tokens, bins) => Math.floor((token * bins) / tokens);

/** Brightness (0 to 1) of a share of the largest weight: its logarithm over a decade and a half. */
export const brightness = (share) => Math.max(0, 1 + Math.log10(Math.max(share, 1e-9)) / 1.5);
