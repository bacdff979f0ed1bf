// Numbers, times and names as texts.

export function seconds(value) {
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 99.5) return `${Math.round(value)} s`;
  const minutes = Math.round(value / 60);
  return minutes < 100 ? `${minutes} min` : `${(value / 3600).toFixed(1)} h`;
}

export function bytes(value) {
  let unit = 0;
  while (value >= 999.5 && unit < 5) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 && unit ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB", "TB", "PB"][unit]}`;
}

/** A price in plain generations, as in `video.cost`. */
export const priceText = (price) => `${price.toFixed(price < 0.995 ? 2 : 1)} × a generation`;

export function when(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleString([], {
    dateStyle: "medium",
    timeStyle: "short",
  });
}

/** `guidance_scale` as "Guidance scale". */
export function title(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** `[0, 1, 2, 5]` as "0-2, 5". */
export function ranges(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts = [];
  for (let start = 0, end = 0; start < sorted.length; start = end + 1) {
    end = start;
    while (sorted[end + 1] === sorted[end] + 1) end += 1;
    parts.push(end > start ? `${sorted[start]}-${sorted[end]}` : `${sorted[start]}`);
  }
  return parts.join(", ");
}

/** "0-2, 5" as `[0, 1, 2, 5]`; null if it is not such a list. */
export function numbers(text) {
  const found = [];
  for (const part of text.split(",").map((piece) => piece.trim())) {
    const match = /^(\d{1,6})(?:\s*[-–]\s*(\d{1,6}))?$/.exec(part);
    if (!match) return null;
    const [start, end] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (end < start || end - start > 4096) return null;
    for (let number = start; number <= end; number += 1) found.push(number);
  }
  return [...new Set(found)].sort((a, b) => a - b);
}
