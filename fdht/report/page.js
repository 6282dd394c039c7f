"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.querySelector("#timeline canvas");
  const hint = document.getElementById("hint");
  const shown = document.getElementById("window");
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const memories = data.memories.map((m) => ({ name: m.name, rows: [bytes(m.reads), bytes(m.writes)] }));
  const UNIT = 30, MEMORY = 20, AXIS = 22, LEFT = 76, LEAST = 8;
  const height = data.units.length * UNIT + memories.length * MEMORY + AXIS;
  let from = 0, to = data.cycles, pointed = null;

  const width = () => canvas.clientWidth;
  const at = (cycle) => LEFT + ((cycle - from) / (to - from)) * (width() - LEFT);
  const cycleAt = (x) => from + ((x - LEFT) / (width() - LEFT)) * (to - from);
  const comma = (n) => Math.round(n).toLocaleString("en");
  const middle = (unit) => unit * UNIT + UNIT / 2;

  function draw() {
    const ratio = window.devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    canvas.width = width() * ratio;
    canvas.height = height * ratio;
    canvas.style.height = height + "px";
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio);
    g.font = "12px system-ui, sans-serif";
    g.textBaseline = "middle";
    g.fillStyle = colour("--fore");
    data.units.forEach((name, k) => g.fillText(name, 6, middle(k)));
    const top = data.units.length * UNIT;
    memories.forEach((m, k) => g.fillText(m.name, 6, top + k * MEMORY + MEMORY / 2));
    g.save();
    g.beginPath();
    g.rect(LEFT, 0, width() - LEFT, height);
    g.clip();
    axis(g, colour);
    memories.forEach((m, k) => m.rows.forEach((row, r) =>
      strip(g, row, top + k * MEMORY + 2 + (r * (MEMORY - 4)) / 2, (MEMORY - 4) / 2, colour("--fore"), r)));
    data.pieces.forEach((piece, k) => box(g, piece, k === pointed));
    data.pieces.forEach((piece, k) => links(g, piece, k, colour("--soft")));
    g.restore();
    shown.textContent = `cycles ${comma(from)} to ${comma(to)}`;
  }

  function axis(g, colour) {
    const rough = (to - from) / Math.max(2, width() / 120), power = 10 ** Math.floor(Math.log10(rough));
    const every = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough));
    g.textAlign = "center";
    for (let cycle = Math.ceil(from / every) * every; cycle <= to; cycle += every) {
      g.fillStyle = colour("--line");
      g.fillRect(at(cycle), 0, 1, height - AXIS);
      g.fillStyle = colour("--soft");
      const half = g.measureText(comma(cycle)).width / 2; // a number at an edge stays whole
      g.fillText(comma(cycle), Math.min(Math.max(at(cycle), LEFT + half), width() - half), height - AXIS / 2);
    }
    g.textAlign = "left";
  }

  function strip(g, row, y, high, fore, write) {
    const each = data.cycles_each;
    g.fillStyle = write ? data.colours.write : fore;
    for (let x = LEFT; x < width(); x++) {
      const first = Math.floor(cycleAt(x) / each), last = Math.max(first + 1, Math.ceil(cycleAt(x + 1) / each));
      let sum = 0;
      for (let k = first; k < last && k < row.length; k++) sum += row[k];
      if (sum) {
        g.globalAlpha = 0.15 + (0.85 * sum) / (255 * (last - first));
        g.fillRect(x, y, 1, high);
      }
    }
    g.globalAlpha = 1;
  }

  function box(g, piece, marked) {
    const x = at(piece.first), wide = at(piece.first + piece.cycles) - x, y = piece.unit * UNIT + 4;
    if (!piece.cycles || x > width() || x + wide < LEFT) return;
    g.fillStyle = piece.colour;
    g.fillRect(x, y, Math.max(wide - (wide > 3 ? 1 : 0), 0.7), UNIT - 8);
    if (marked) {
      g.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--fore");
      g.lineWidth = 2;
      g.strokeRect(x, y, wide, UNIT - 8);
    }
    const left = Math.max(x, LEFT) + 4, room = Math.min(x + wide, width()) - left - 4;
    if (room > g.measureText(piece.name).width) {
      g.fillStyle = "#fff";
      g.fillText(piece.name, left, middle(piece.unit));
    }
  }

  function links(g, piece, number, soft) {
    for (const [, cycle, taker] of piece.gives) {
      if (taker === null) continue;
      const other = data.pieces[taker], strong = number === pointed || taker === pointed;
      g.globalAlpha = strong ? 1 : 0.35;
      g.strokeStyle = soft;
      g.lineWidth = strong ? 2 : 1;
      g.beginPath();
      g.moveTo(at(cycle), middle(piece.unit));
      g.lineTo(at(other.start), middle(other.unit));
      g.stroke();
    }
    g.globalAlpha = 1;
  }

  function words(piece) {
    const lines = [`${data.units[piece.unit]}: ${piece.name}`];
    lines.push(`cycles ${comma(piece.start)} to ${comma(piece.done)}, at work in ${comma(piece.cycles)}`);
    for (const [name, value] of Object.entries(piece.facts)) lines.push(`${name}: ${value}`);
    const other = (k) => (k === null ? "outside this window" : data.pieces[k].name);
    for (const [token, giver] of piece.takes) lines.push(`waits for ${token}, from ${other(giver)}`);
    for (const [token, cycle, taker] of piece.gives)
      lines.push(`gives ${token} in cycle ${comma(cycle)}, to ${other(taker)}`);
    return lines.join("\n");
  }

  function point(x, y) {
    const unit = Math.floor(y / UNIT), cycle = cycleAt(x), near = (2 * (to - from)) / width();
    const found = data.pieces.findIndex((p) => p.unit === unit && p.cycles &&
      cycle >= p.first - near && cycle <= p.first + p.cycles + near);
    const next = x < LEFT || found < 0 ? null : found;
    if (next !== pointed) {
      pointed = next;
      draw();
    }
    hint.hidden = pointed === null;
    if (pointed === null) return;
    hint.textContent = words(data.pieces[pointed]);
    hint.style.left = Math.max(0, Math.min(x + 12, width() - hint.offsetWidth)) + "px";
    hint.style.top = canvas.offsetTop + unit * UNIT + UNIT + 6 + "px";
  }

  function show(first, last) {
    const wide = Math.min(Math.max(last - first, LEAST), data.cycles);
    from = Math.min(Math.max(first, 0), data.cycles - wide);
    to = from + wide;
    draw();
  }

  function zoom(by, cycle = (from + to) / 2) {
    const wide = (to - from) * by;
    show(cycle - ((cycle - from) / (to - from)) * wide, cycle - ((cycle - from) / (to - from)) * wide + wide);
  }

  const move = (part) => show(from + part * (to - from), to + part * (to - from));
  const fingers = new Map();
  let spread = null;
  canvas.style.touchAction = "pan-y";
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) move(e.deltaX / width());
    else zoom(e.deltaY > 0 ? 1.25 : 0.8, cycleAt(e.offsetX));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (e) => {
    fingers.set(e.pointerId, e.offsetX);
    canvas.setPointerCapture(e.pointerId);
    spread = null;
    point(e.offsetX, e.offsetY);
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!fingers.has(e.pointerId)) return point(e.offsetX, e.offsetY);
    const before = fingers.get(e.pointerId);
    fingers.set(e.pointerId, e.offsetX);
    if (fingers.size === 1) return move((before - e.offsetX) / (width() - LEFT));
    const [a, b] = [...fingers.values()], now = Math.max(Math.abs(a - b), 10);
    if (spread) zoom(spread / now, cycleAt((a + b) / 2));
    spread = now;
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => fingers.delete(e.pointerId));
  canvas.addEventListener("pointerleave", () => point(0, -1));
  canvas.addEventListener("keydown", (e) => {
    const does = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => move(-0.2),
      ArrowRight: () => move(0.2), Home: () => show(0, to - from), 0: () => show(0, data.cycles) }[e.key];
    if (!does) return;
    e.preventDefault();
    does();
  });
  const buttons = { in: () => zoom(0.5), out: () => zoom(2), all: () => show(0, data.cycles) };
  document.querySelectorAll("[data-do]").forEach((b) => b.addEventListener("click", buttons[b.dataset.do]));
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
