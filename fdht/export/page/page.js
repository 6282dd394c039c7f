"use strict";
// The page: from an input to raw words, through the engine and the golden model, and what is seen of them.

const model = JSON.parse(document.getElementById("model").textContent);
const find = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US");

/** An element with its properties and children; text is never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function decoded(text, type) {
  return new type(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
}

const golden = new Golden(
  model.description,
  Object.fromEntries(Object.entries(model.tensors).map(([name, text]) => [name, decoded(text, Int32Array)])),
);
const clips = model.clips.map((clip) => ({ ...clip, words: decoded(clip.words, model.bytes ? Uint8Array : Int32Array) }));
const { inputs, classes, engine, plan } = model;

// ---------------------------------------------------------------------------------------------------- the engine

let call = startEngine();
const loaded = call("load", {
  module: decoded(engine.module, Uint8Array).buffer,
  image: decoded(engine.image, Uint16Array),
});

/** A clip's words as they are sent: each frame in the engine's order, filled up to whole beats. */
function sent(words, steps) {
  const order = engine.order ?? range(inputs);
  const width = Math.ceil(inputs / engine.lanes) * engine.lanes;
  const beats = new Uint16Array(steps * width);
  for (let step = 0; step < steps; step++)
    order.forEach((from, k) => (beats[step * width + k] = words[step * inputs + from] & (2 ** engine.width - 1)));
  return beats;
}

function logitsOf(outputs) {
  const bits = (word, [at, width]) => Math.floor(word / 2 ** at) % 2 ** width;
  const [, width] = engine.output.value;
  return outputs
    .filter((word) => bits(word, engine.output.kind) === engine.output.logit)
    .map((word) => bits(word, engine.output.value))
    .map((value) => (value >= 2 ** (width - 1) ? value - 2 ** width : value));
}

/** What the units have done: begun and ended instructions, as their signals say. */
class Seen {
  constructor() {
    this.units = plan.units.map(() => ({ started: [], ended: [] }));
    this.cycle = 0;
  }
  add(events) {
    for (let k = 0; k < events.length; k += 2)
      this.units.forEach((unit, number) => {
        if ((events[k + 1] >> number) & 1) unit.started.push(events[k]);
        if ((events[k + 1] >> (16 + number)) & 1) unit.ended.push(events[k]);
      });
  }
}

/** Runs the RTL on a clip, with a look at it now and then. */
async function runEngine(words, steps, pace, look) {
  const { most } = await loaded;
  const all = sent(words, steps);
  if (all.length > most) throw new Error(`a clip of ${number(all.length)} words; the page sends at most ${number(most)}`);
  await call("begin", { sent: all, steps });
  const seen = new Seen();
  const outputs = [];
  for (let over = false; !over; ) {
    const answer = await call("advance", { cycles: pace() || 20000 });
    seen.add(answer.events);
    seen.cycle = answer.cycles;
    outputs.push(...answer.outputs);
    over = answer.over;
    look(seen);
    if (pace()) await new Promise(requestAnimationFrame);
  }
  const flat = logitsOf(outputs);
  return { seen, cycles: seen.cycle, logits: range(flat.length / classes.length).map((k) => flat.slice(k * classes.length, (k + 1) * classes.length)) };
}

// ------------------------------------------------------------------------------------------------ what is seen

/** What went wrong, where the result would be. */
function complain(sentence) {
  find("verdict").replaceChildren(make("span", { className: "bad", textContent: sentence }));
}

const first = (logits) => logits.indexOf(Math.max(...logits));
const real = model.description.layers.at(-1).task.startsWith("regress");
const everyStep = model.description.layers.at(-1).task.endsWith("steps");

/** What an integer of the head stands for. */
function meaning(logit, k) {
  const value = logit * 2 ** -model.description.formats.head.result.frac;
  const outputs = model.description.outputs;
  return outputs ? value * outputs.scale[k] + outputs.mean[k] : value;
}

/** A number with four digits, as people write it; whole ones with all of theirs. */
const short = (value) => (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e9 ? value.toPrecision(4) : number(Number(value.toPrecision(4))));

/** Classes one after the other, each with how often in a row. */
function runs(names) {
  const found = [];
  for (const name of names)
    if (found.at(-1)?.name === name) found.at(-1).times++;
    else found.push({ name, times: 1 });
  return found.map(({ name, times }) => (times > 1 ? `${name} ×${times}` : name)).join(", ");
}

/** What logits say, in words: classes, or the numbers after the last step. */
const said = (all) => (real ? all.at(-1).map((each, k) => short(meaning(each, k))).join(", ") : runs(all.map((each) => classes[first(each)])));

/** The same of what is true of a clip: names of classes, or numbers, none where one is not known. */
const told = (truth) => (real ? truth.map((each) => (each === null ? "unknown" : short(each))).join(", ") : runs(truth));

const unitCards = plan.units.map((unit) => {
  const card = make("div", { className: "unit" }, make("b", { textContent: unit.name }), make("span"));
  find("units").append(card);
  return card;
});

/** The instruction that a unit's n-th start is of. */
function instructionOf(unit, n) {
  const { before, body, labels } = unit;
  if (n < before) return { step: 0, label: labels[n] };
  return { step: Math.floor((n - before) / body), label: labels[before + ((n - before) % body)] };
}

function showUnits(seen, steps) {
  plan.units.forEach((unit, k) => {
    const { started, ended } = seen.units[k];
    const busy = started.length > ended.length;
    unitCards[k].classList.toggle("busy", busy);
    const n = started.length - 1;
    const tail = n >= unit.before + unit.body * steps;
    const { step, label } = tail
      ? { step: steps - 1, label: unit.labels[n - unit.body * (steps - 1)] }
      : instructionOf(unit, Math.max(n, 0));
    unitCards[k].lastChild.textContent = busy ? `step ${step + 1}: ${label}` : "waits";
  });
  find("cycle").textContent = number(seen.cycle);
}

const canvas = find("schedule");
let drawn = { seen: new Seen(), steps: plan.steps };

/** The plan as outlines, what the signals said as filled bars, the cycle as a line. */
function showSchedule(seen = drawn.seen, steps = drawn.steps) {
  drawn = { seen, steps };
  const [width, height] = [canvas.clientWidth, 150];
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) Object.assign(canvas, { width: Math.round(width * ratio), height: height * ratio });
  canvas.style.height = `${height}px`;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const planned = steps === plan.steps;
  const total = planned ? plan.cycles[steps - 1] : Math.max(seen.cycle, 1);
  let [from, to] = [0, total];
  if (find("zoom").checked && planned) {
    const edges = range(steps).map((step) => Math.min(...plan.units.flatMap((unit) => unit.rows.filter((row) => row[0] === step).map((row) => row[2]))));
    const step = Math.max(edges.findLastIndex((edge) => edge <= seen.cycle), 0);
    const last = Math.max(...plan.units.flatMap((unit) => unit.rows.filter((row) => row[0] === step).map((row) => row[3])));
    [from, to] = [edges[step], last];
  }
  const left = 52;
  const x = (cycle) => left + ((cycle - from) / (to - from)) * (width - left - 2);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  plan.units.forEach((unit, k) => {
    const [top, tall] = [8 + k * 44, 34];
    pen.fillStyle = colour("--quiet");
    pen.fillText(unit.short, 0, top + tall / 2);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, height);
    pen.clip();
    const { started, ended } = seen.units[k];
    pen.fillStyle = colour("--engine");
    started.forEach((start, n) => {
      const end = ended[n] ?? seen.cycle;
      if (end >= from && start <= to) pen.fillRect(x(start), top, Math.max(x(end) - x(start) - 0.5, 0.5), tall);
    });
    pen.strokeStyle = colour("--line");
    if (planned)
      for (const [, index, start, end] of unit.rows) {
        if (end < from || start > to) continue;
        pen.strokeRect(x(start), top, x(end) - x(start), tall);
        const label = unit.labels[index];
        const begun = start <= seen.cycle && started.length;
        if (x(end) - x(start) > 7 * label.length + 6) {
          pen.fillStyle = begun ? colour("--card") : colour("--quiet");
          pen.fillText(label, x(start) + 4, top + tall / 2);
        }
      }
    pen.restore();
  });
  pen.fillStyle = colour("--golden");
  if (seen.cycle >= from && seen.cycle <= to) pen.fillRect(x(seen.cycle), 2, 2, 136);
}

/** Of the instructions of a run, how many began and ended in the planned cycle. */
function asPlanned(seen, steps) {
  if (steps !== plan.steps) return null;
  let [same, all] = [0, 0];
  plan.units.forEach((unit, k) => {
    const { started, ended } = seen.units[k];
    all += Math.max(unit.rows.length, started.length);
    same += unit.rows.filter(([, , start, end], n) => started[n] === start && ended[n] === end).length;
  });
  return { same, all };
}

function showLogits(ours, theirs) {
  const [low, high] = [Math.min(0, ...ours, ...theirs), Math.max(1, ...ours, ...theirs)];
  const bar = (value, className) => {
    const [from, to] = [Math.min(value, 0), Math.max(value, 0)].map((each) => (100 * (each - low)) / (high - low));
    const element = make("i", { className });
    Object.assign(element.style, { left: `${from}%`, width: `${to - from}%` });
    return element;
  };
  find("logits").replaceChildren(
    ...classes.map((name, k) =>
      make(
        "div",
        { className: !real && k === first(ours) ? "logit first" : "logit" },
        make("span", { className: "name", textContent: name, title: name }),
        make("span", { className: "bar" }, bar(ours[k], ""), bar(theirs[k], "golden")),
        make("span", { className: "value", textContent: real ? short(meaning(ours[k], k)) : meaning(ours[k], k).toFixed(3) }),
      ),
    ),
  );
  const box = find("logits");
  if (box.scrollHeight > box.clientHeight) {
    box.tabIndex = 0; // keys scroll it
    const name = box.querySelector(".first .name"); // seen, however many there are
    if (name) box.scrollTop += name.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
  }
  find("legend").hidden = false;
}

/** SVG's namespace, whose name is an address; the page has none. */
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;

/** Of a regression after every step: each output from step to step, the engine's line and the golden model's over it. */
function showSteps(ours, theirs) {
  if (!real || ours.length < 2) return find("steps").replaceChildren();
  const [width, height, margin] = [300, 60, 4];
  const drawing = (tag, properties) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    return element;
  };
  find("steps").replaceChildren(...classes.map((name, k) => {
    const values = [ours, theirs].map((all) => all.map((logits) => meaning(logits[k], k)));
    const [low, high] = [Math.min(...values.flat()), Math.max(...values.flat())];
    const text = `${name} after each of ${ours.length} steps: ${short(low)} to ${short(high)}`;
    const picture = drawing("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": text });
    values.forEach((line, which) => {
      const place = (value, step) =>
        [(step / (line.length - 1)) * width, height - margin - ((value - low) / (high - low || 1)) * (height - 2 * margin)].join();
      picture.append(drawing("polyline", { points: line.map(place).join(" "), class: which ? "golden" : "engine" }));
    });
    return make("figure", {}, make("figcaption", { className: "note", textContent: text }), picture);
  }));
}

/** The whole result, also for who asks from outside. */
let turn = Promise.resolve();
let latest = null;
function classify(words, steps, truth = null) {
  latest = { words, steps, truth };
  return (turn = turn.catch(() => {}).then(() => classifyNow(words, steps, truth)));
}

async function classifyNow(words, steps, truth) {
  const expected = golden.run(words, steps);
  const predicted = plan.cycles[steps - 1] ?? null;
  find("verdict").textContent = "Running.";
  find("expected").textContent = predicted === null ? "" : `of ${number(predicted)} predicted`;
  try {
    const { logits, cycles, seen } = await runEngine(
      words, steps, () => Number(find("pace").value),
      (now) => { showUnits(now, steps); showSchedule(now, steps); },
    );
    const equal = JSON.stringify(logits) === JSON.stringify(expected);
    const kept = asPlanned(seen, steps);
    showLogits(logits.at(-1), expected.at(-1));
    showSteps(logits, expected);
    const what = real ? (everyStep ? "Outputs after the last step:" : "Outputs") : everyStep ? "Classes" : "Class";
    const good = equal && (predicted === null || predicted === cycles);
    const mark = make("span", { className: good ? "good" : "bad", textContent: good ? "equal" : "different" });
    find("verdict").replaceChildren(
      make("strong", { textContent: `${what} ${said(logits)}` }),
      `; the golden model says ${said(expected)}: ${real ? "outputs" : "logits"}${predicted === null ? "" : " and cycles"} `, mark,
      truth === null ? "" : `; true: ${told(truth)}`,
    );
    find("kept").textContent = kept ? `${number(kept.same)} of ${number(kept.all)} instructions began and ended in the planned cycle.` : "";
    find("again").disabled = false;
    return { logits, golden: expected, class: real ? null : first(logits.at(-1)), cycles, predicted, planned: kept };
  } catch (error) {
    complain(error.message);
    throw error;
  }
}

// ------------------------------------------------------------------------------------------------------- inputs

/** A pad to draw a digit on, and the words that come of it, which keys can set too. */
function drawingInput() {
  const SIDE = 256;
  const pad = make("canvas", { id: "pad", width: SIDE, height: SIDE });
  pad.setAttribute("role", "img");
  pad.setAttribute("aria-label", "A pad: draw a digit with the pointer. With keys, use the grid beside it.");
  const grid = make("canvas", { id: "grid", width: 256, height: 256, tabIndex: 0 });
  grid.setAttribute("role", "application");
  const position = make("span", { className: "note" });
  position.setAttribute("aria-live", "polite");
  const clear = make("button", { type: "button", textContent: "Clear", id: "clear" });
  find("input").append(
    make("div", { className: "pads" },
      make("figure", {}, make("figcaption", { className: "note", textContent: "Draw a digit here." }), pad),
      make("figure", {}, make("figcaption", { className: "note", textContent: "What the engine gets: a row a step." }), grid)),
    make("p", { className: "note", textContent: "Keys on the grid: arrows move, space sets or clears, Enter runs." }),
    make("div", { className: "buttons" }, clear, position),
  );
  let [strokes, words, row, column, pressed] = [[], new Array(GRID * GRID).fill(0), 0, 0, false];
  const pen = pad.getContext("2d");
  const show = () => {
    pen.clearRect(0, 0, SIDE, SIDE);
    Object.assign(pen, { lineWidth: 17, lineCap: "round", lineJoin: "round", strokeStyle: "#1a1f27" });
    for (const stroke of strokes) {
      pen.beginPath();
      stroke.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      if (stroke.length === 1) pen.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
      pen.stroke();
    }
    const [dots, cell] = [grid.getContext("2d"), grid.width / GRID];
    words.forEach((word, k) => {
      dots.fillStyle = `rgb(${range(3).map(() => 255 - word).join()})`;
      dots.fillRect((k % GRID) * cell, Math.floor(k / GRID) * cell, cell, cell);
    });
    if (document.activeElement === grid) {
      Object.assign(dots, { strokeStyle: "#0b62c4", lineWidth: 3 });
      dots.strokeRect(column * cell + 1.5, row * cell + 1.5, cell - 3, cell - 3);
    }
    grid.setAttribute("aria-label", `The words of the engine, ${GRID} rows of ${GRID}. Row ${row + 1}, column ${column + 1}: ${words[row * GRID + column]}`);
  };
  const where = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  pad.addEventListener("pointerdown", (event) => {
    pressed = true;
    pad.setPointerCapture(event.pointerId);
    strokes.push([where(event)]);
    show();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pressed) return;
    strokes.at(-1).push(where(event));
    show();
  });
  const lifted = () => {
    if (!pressed) return;
    pressed = false;
    words = digitWords(strokes);
    show();
    classify(words, GRID);
  };
  pad.addEventListener("pointerup", lifted);
  pad.addEventListener("pointercancel", lifted);
  const keys = {
    ArrowUp: () => (row = Math.max(row - 1, 0)),
    ArrowDown: () => (row = Math.min(row + 1, GRID - 1)),
    ArrowLeft: () => (column = Math.max(column - 1, 0)),
    ArrowRight: () => (column = Math.min(column + 1, GRID - 1)),
    " ": () => (words[row * GRID + column] = words[row * GRID + column] ? 0 : 255),
    Enter: () => classify([...words], GRID),
  };
  grid.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
    show();
    position.textContent = `row ${row + 1}, column ${column + 1}: ${words[row * GRID + column]}`;
  });
  grid.addEventListener("focus", show);
  grid.addEventListener("blur", show);
  clear.addEventListener("click", () => {
    [strokes, words] = [[], new Array(GRID * GRID).fill(0)];
    show();
  });
  show();
  return (shown) => {
    [strokes, words] = [[], Array.from(shown)];
    show();
  };
}

/** A value as the raw word that stands for it. */
function toWord(value, k) {
  const { raw, offset } = model.description.formats.input;
  const scaling = model.description.scaling;
  if (!scaling) return clipped(Math.round(value), raw);
  const at = scaling.centre.length > 1 ? k : 0;
  return clipped(Math.floor((value - scaling.centre[at]) / scaling.step[at] + 0.5) + offset, raw);
}

function toValue(word, k) {
  const scaling = model.description.scaling;
  if (!scaling) return word;
  const at = scaling.centre.length > 1 ? k : 0;
  return scaling.centre[at] + scaling.step[at] * (word - model.description.formats.input.offset);
}

/** Values of a table in text: a line a step, separated by commas, semicolons or spaces; a first line of names is passed over. */
function parsed(text) {
  const split = (line) => line.trim().split(/[\s,;]+/);
  const lines = text.split(/\r?\n/).map((line, at) => [line, at + 1]).filter(([line]) => line.trim());
  if (lines.length > 1 && split(lines[0][0]).every((word) => Number.isNaN(Number(word)))) lines.shift();
  if (!lines.length) throw new Error("There are no values: write a line for each step.");
  if (lines.length > 65535) throw new Error(`${number(lines.length)} lines; a clip has at most 65,535 steps.`);
  return lines.flatMap(([line, at]) => {
    const values = split(line);
    const odd = values.find((word) => !Number.isFinite(Number(word)));
    if (odd !== undefined) throw new Error(`Line ${at}: ${odd} is no number.`);
    if (values.length !== inputs) throw new Error(`Line ${at} has ${values.length} value${values.length === 1 ? "" : "s"}; a step has ${inputs}.`);
    return values.map(Number).map(toWord);
  });
}

/** Sliders for the values of a step, and a table of all steps, from a file or by hand. */
function valuesInput() {
  const MOST_SLIDERS = 64, MOST_NAMES = 12;
  const { raw, offset } = model.description.formats.input;
  const [low, high] = raw.signed ? [-(2 ** (raw.width - 1)), 2 ** (raw.width - 1) - 1] : [0, 2 ** raw.width - 1];
  let words = Array.from({ length: plan.steps * inputs }, (_, k) => toWord(toValue(offset, k % inputs), k % inputs));
  const table = make("textarea", { id: "table", spellcheck: false, wrap: "off" });
  const step = make("select", { id: "step" });
  const sliders = make("div", { className: "sliders" });
  const file = make("input", { type: "file", accept: ".csv,.txt,.tsv", id: "file" });
  const run = make("button", { type: "button", textContent: "Run", id: "run" });
  const unit = model.description.scaling ? "in the units of the data" : `whole numbers from ${low} to ${high}`;
  const rounded = (value) => String(Number(value.toPrecision(6)));
  const showTable = () => {
    table.value = range(words.length / inputs).map((row) => range(inputs).map((k) => rounded(toValue(words[row * inputs + k], k))).join(", ")).join("\n");
  };
  const show = () => {
    showTable();
    const steps = words.length / inputs;
    const chosen = Math.min(Number(step.value || 0), steps - 1);
    step.replaceChildren(...range(steps).map((k) => make("option", { value: k, textContent: k + 1 })));
    step.value = chosen;
    if (inputs > MOST_SLIDERS) return;
    sliders.replaceChildren(...range(inputs).map((k) => {
      const at = chosen * inputs + k;
      const shown = make("output");
      const slider = make("input", { type: "range", min: low, max: high, value: words[at] });
      const tell = () => slider.setAttribute("aria-valuetext", (shown.textContent = rounded(toValue(words[at], k))));
      tell();
      slider.addEventListener("input", () => {
        words[at] = Number(slider.value);
        tell();
      });
      slider.addEventListener("change", () => { showTable(); go(); });  // the slider stays, and keeps the keys
      return make("label", {}, `${model.values[k] ?? `value ${k + 1}`}: `, shown, slider);
    }));
  };
  const go = () => classify([...words], words.length / inputs);
  const take = (text) => {
    try {
      words = parsed(text);
    } catch (error) {
      complain(error.message);
      return;
    }
    show();
    go();
  };
  step.addEventListener("change", show);
  run.addEventListener("click", () => take(table.value));
  file.addEventListener("change", async () => {
    if (file.files.length) take(await file.files[0].text());
    file.value = ""; // so that the same file, changed, can be taken again
  });
  find("input").append(
    ...(inputs > MOST_SLIDERS ? [] : [make("div", { className: "buttons" }, make("label", {}, "Sliders for step ", step)), sliders]),
    make("label", {}, `All steps: a line each, with ${model.values.length && inputs <= MOST_NAMES ? model.values.join(", ") : `${inputs} value${inputs === 1 ? "" : "s"}`}, ${unit}`, table),
    make("div", { className: "buttons" }, run, make("label", {}, "From a file (CSV) ", file)));
  show();
  return (shown) => {
    words = Array.from(shown);
    show();
  };
}

/** Frames from pictures or the camera, cut to the model's shape. */
function framesInput() {
  const [height, width, channels = 1] = model.shape;
  const strip = make("div", { className: "frames" });
  strip.setAttribute("role", "img");
  const files = make("input", { type: "file", accept: "image/*", multiple: true, id: "pictures" });
  const camera = make("button", { type: "button", textContent: `Take ${plan.steps} frames with the camera`, id: "camera" });
  const pen = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  const frame = (picture, wide, tall) => {
    const scale = Math.max(width / wide, height / tall);
    pen.drawImage(picture, (width - wide * scale) / 2, (height - tall * scale) / 2, wide * scale, tall * scale);
    const pixels = pen.getImageData(0, 0, width, height).data;
    const grey = (at) => Math.round(0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2]);
    return range(width * height).flatMap((k) => (channels === 1 ? [grey(4 * k)] : [...pixels.slice(4 * k, 4 * k + channels)]));
  };
  /** All frames of a clip, and empty places for those that are still to come. */
  const show = (words) => {
    const there = words.length / inputs;
    strip.setAttribute("aria-label", there ? `The ${there} frames that the engine gets` : "No frames yet");
    strip.replaceChildren(...range(Math.max(there, plan.steps)).map((step) => {
      const view = make("canvas", { width, height });
      if (step >= there) return view;
      const pixels = pen.createImageData(width, height);
      for (let k = 0; k < width * height; k++)
        for (let c = 0; c < 4; c++)
          pixels.data[4 * k + c] = c === 3 ? 255 : words[step * inputs + k * channels + Math.min(c, channels - 1)];
      view.getContext("2d").putImageData(pixels, 0, 0);
      return view;
    }));
  };
  files.addEventListener("change", async () => {
    const chosen = [...files.files];
    if (!chosen.length) return;
    const words = [];
    for (let k = 0; k < plan.steps; k++) {
      const file = chosen[Math.floor((k * chosen.length) / plan.steps)];
      try {
        const picture = await createImageBitmap(file);
        words.push(...frame(picture, picture.width, picture.height));
      } catch {
        return complain(`${file.name} is no picture that the browser reads.`);
      }
    }
    show(words);
    classify(words, plan.steps);
  });
  camera.addEventListener("click", async () => {
    camera.disabled = true;
    let stream = null;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
      const video = make("video", { srcObject: stream, muted: true, playsInline: true });
      await video.play();
      const words = [];
      for (let k = 0; k < plan.steps; k++) {
        if (k) await new Promise((resolve) => setTimeout(resolve, 250));
        words.push(...frame(video, video.videoWidth, video.videoHeight));
        show(words);
        find("verdict").textContent = `The camera: frame ${k + 1} of ${plan.steps}.`;
      }
      classify(words, plan.steps);
    } catch (error) {
      complain({
        NotFoundError: "There is no camera.",
        NotReadableError: "The camera gives no picture; perhaps another program uses it.",
        NotAllowedError: "The browser does not allow this page the camera.",
        SecurityError: "The browser gives a page from here no camera; it does where the page comes from a server on this machine or by https.",
      }[error.name] ?? `The camera gives no picture: ${error.message}`);
    } finally {
      stream?.getTracks().forEach((track) => track.stop());
      camera.disabled = false;
    }
  });
  find("input").append(
    strip,
    make("div", { className: "buttons" }, make("label", {}, `Pictures, one for each of ${plan.steps} steps `, files), camera),
    make("p", { className: "note", textContent: `Fewer pictures than steps are repeated, of more some are left out; each is cut to ${width} × ${height} points. The camera takes four a second. Nothing leaves this page.` }));
  show([]);
  return show;
}

const showInput = { drawing: drawingInput, values: valuesInput, frames: framesInput }[model.kind]();

function runClip(k) {
  const clip = clips[k];
  showInput(clip.words);
  return classify(clip.words, clip.words.length / inputs, clip.truth);
}

clips.forEach((clip, k) => {
  const button = make("button", { type: "button", textContent: clip.name });
  button.setAttribute("aria-label", `Run clip ${clip.number}${clip.truth ? `: true ${told(clip.truth)}` : ""}`);
  button.addEventListener("click", () => runClip(k));
  find("clips").append(button);
});
find("examples").hidden = !clips.length;
find("about").textContent = model.about;
find("facts").textContent = model.facts;
find("again").addEventListener("click", () => latest && classify(latest.words, latest.steps, latest.truth));
find("zoom").addEventListener("change", () => showSchedule());
window.addEventListener("resize", () => showSchedule());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showSchedule());
showUnits(drawn.seen, plan.steps);
showSchedule();
loaded.catch((error) => complain(error.message));
