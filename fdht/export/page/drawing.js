"use strict";
// A drawn digit as the data set has them: centred and scaled to 32 × 32 points that are on or off, of which each word
// counts 4 × 4.

const GRID = 8; // words of a side
const CELL = 4; // points of a word's side
const GREY = 16; // of a point
const INK = 312; // points that are on: a mean of the data set, whose strokes are as thick as that takes
const PENS = [1, 6]; // points from the middle of a stroke to its edge, least and most

/** Raw words, a row after the other, of strokes: arrays of points [x, y] of any size. */
function digitWords(strokes) {
  let [thin, thick] = PENS;
  let points = inked(strokes, thin);
  for (let turn = 0; turn < 8; turn++) {
    const middle = (thin + thick) / 2;
    points = inked(strokes, middle);
    if (points.length < INK) thin = middle;
    else thick = middle;
  }
  const words = new Array(GRID * GRID).fill(0);
  for (const [row, column] of points) words[Math.floor(row / CELL) * GRID + Math.floor(column / CELL)] += GREY;
  return words.map((word) => Math.min(word, 255));
}

/** The points [row, column] that are on, of strokes drawn with a pen. */
function inked(strokes, pen) {
  const side = GRID * CELL;
  const drawn = strokes.flat();
  if (!drawn.length) return [];
  const [left, top] = [0, 1].map((k) => Math.min(...drawn.map((point) => point[k])));
  const [width, height] = [left, top].map((low, k) => Math.max(...drawn.map((point) => point[k])) - low);
  const scale = (side - 2 * pen) / Math.max(width, height, 1e-9);
  const place = ([x, y]) => [
    side / 2 + (x - left - width / 2) * scale,
    side / 2 + (y - top - height / 2) * scale,
  ];
  const placed = strokes.map((stroke) => stroke.map(place));
  const points = [];
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++)
      if (placed.some((stroke) => distance(stroke, column + 0.5, row + 0.5) <= pen)) points.push([row, column]);
  return points;
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
