"use strict";
// A drawn digit as the data set has them: centred and scaled to 32 × 32 points that are on or off, of which each word
// counts 4 × 4.

const GRID = 8; // words of a side
const CELL = 4; // points of a word's side
const GREY = 16; // of a point
const PEN = 2.1; // points from the middle of a stroke to its edge: strokes cover as much as in the data set

/** Raw words, a row after the other, of strokes: arrays of points [x, y] of any size. */
function digitWords(strokes) {
  const side = GRID * CELL;
  const words = new Array(GRID * GRID).fill(0);
  const points = strokes.flat();
  if (!points.length) return words;
  const [left, top] = [0, 1].map((k) => Math.min(...points.map((point) => point[k])));
  const [width, height] = [left, top].map((low, k) => Math.max(...points.map((point) => point[k])) - low);
  const room = side - 2 * PEN;
  const scale = room / Math.max(width, height, 1e-9);
  const place = ([x, y]) => [
    side / 2 + (x - left - width / 2) * scale,
    side / 2 + (y - top - height / 2) * scale,
  ];
  const placed = strokes.map((stroke) => stroke.map(place));
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      const near = placed.some((stroke) => distance(stroke, column + 0.5, row + 0.5) <= PEN);
      if (near) words[Math.floor(row / CELL) * GRID + Math.floor(column / CELL)] += GREY;
    }
  return words.map((word) => Math.min(word, 255));
}

/** From a point to a stroke. */
function distance(stroke, x, y) {
  let least = Infinity;
  for (let k = 0; k < stroke.length; k++) {
    const [ax, ay] = stroke[Math.max(k - 1, 0)];
    const [bx, by] = stroke[k];
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const along = length ? Math.min(Math.max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0), 1) : 0;
    least = Math.min(least, Math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)));
  }
  return least;
}
