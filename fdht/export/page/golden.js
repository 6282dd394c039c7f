"use strict";
// The golden model: docs/bundle.md, sections 2 to 6, in JavaScript. Integers are Numbers where sums stay below 2^53 for
// certain, and BigInts in the stages where they might not.

const range = (count) => Array.from({ length: count }, (_, k) => k);
const product = (numbers) => numbers.reduce((all, each) => all * each, 1);

function clipped(value, format) {
  const half = 2 ** (format.width - 1);
  const [low, high] = format.signed ? [-half, half - 1] : [0, 2 * half - 1];
  return Math.min(Math.max(value, low), high);
}

/** A number that is `shift` bits finer than a format, in it: halves are rounded up. */
function requantise(value, shift, format) {
  if (typeof value === "bigint") {
    const bits = BigInt(shift);
    return clipped(Number((value + ((1n << bits) >> 1n)) >> bits), format);
  }
  return clipped(shift ? Math.floor((value + 2 ** (shift - 1)) / 2 ** shift) : value, format);
}

function lookUp(table, code) {
  const bits = table.input.width - 7;
  const segment = (code >> bits) + 64;
  const offset = code & (2 ** bits - 1);
  return table.base[segment] + Math.floor((table.slope[segment] * offset + 2 ** (bits - 1)) / 2 ** bits);
}

/** Steps of a C-ordered tensor's dimensions. */
function strides(shape) {
  return shape.map((_, k) => product(shape.slice(k + 1)));
}

/** Where the entries of a vector lie in a flattened tensor of `shape`. */
function places(region, shape) {
  const sizes = region.sizes.length ? region.sizes : region.order.map((mode) => region.shape[mode]);
  const step = strides(shape);
  return range(region.count).map((entry) => {
    const within = shape.map(() => 0);
    const digits = [];
    let rest = entry;
    for (const size of [...sizes].reverse()) {
      digits.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    region.order.forEach((mode, k) => (within[mode] = within[mode] * sizes[k] + digits[k]));
    return within.reduce((sum, each, mode) => sum + (region.start[mode] + each) * step[mode], 0);
  });
}

/** Offsets in a tensor with the indices `names` of all values of some of them, in C order. */
function offsets(some, names, size) {
  const step = strides(names.map((name) => size.get(name)));
  return some.reduce(
    (all, name) => all.flatMap((at) => range(size.get(name)).map((k) => at + k * step[names.indexOf(name)])),
    [0],
  );
}

/** A chain's stages as loops: per stage where its operands lie. */
function stagesOf(network, stageList) {
  const size = new Map(network.sizes);
  const factors = new Map(network.factors.map((factor) => [factor.name, factor.indices]));
  const left = new Map(factors);
  let data = network.inputs;
  const stages = stageList.map((group) => {
    const ofGroup = [...new Set(group.flatMap((name) => factors.get(name)))];
    group.forEach((name) => left.delete(name));
    const needed = new Set([...network.outputs, ...[...left.values()].flat()]);
    const batch = data.filter((index) => ofGroup.includes(index) && needed.has(index));
    const reduction = data.filter((index) => ofGroup.includes(index) && !needed.has(index));
    const columns = data.filter((index) => !ofGroup.includes(index));
    const rows = ofGroup.filter((index) => !data.includes(index) && needed.has(index));
    const [ofBatch, ofColumns, ofReduction] = [batch, columns, reduction].map((some) => offsets(some, data, size));
    data = [...batch, ...columns, ...rows];
    return { ofBatch, ofColumns, ofReduction, rows: product(rows.map((index) => size.get(index))) };
  });
  return { stages, order: offsets(network.outputs, data, size) };
}

/** What a stage multiplies up, batch × columns × rows; BigInts where a sum may leave what a Number holds exactly. */
function contract({ ofBatch, ofColumns, ofReduction, rows }, weight, data, wide) {
  const depth = ofReduction.length;
  const result = new (wide ? Array : Float64Array)(ofBatch.length * ofColumns.length * rows);
  let at = 0;
  for (let b = 0; b < ofBatch.length; b++)
    for (let c = 0; c < ofColumns.length; c++)
      for (let r = 0; r < rows; r++) {
        let sum = wide ? 0n : 0;
        const start = ofBatch[b] + ofColumns[c];
        const first = (b * rows + r) * depth;
        for (let k = 0; k < depth; k++) {
          const [of, by] = [weight[first + k], data[start + ofReduction[k]]];
          sum += wide ? BigInt(of) * BigInt(by) : of * by;
        }
        result[at++] = sum;
      }
  return result;
}

class Golden {
  /** Most bits of a stage's sums that are Numbers: two of them, and a bias, still are exact. */
  static narrow = 51;

  /** @param description of a bundle @param tensors by name, flat arrays of integers */
  constructor(description, tensors) {
    Object.assign(this, { formats: description.formats, tensors, layers: [] });
    const last = description.layers.at(-1);
    this.everyStep = last.task.endsWith("-steps");
    let chain = 0;
    for (const [number, layer] of description.layers.entries()) {
      const size = new Map(layer.network.sizes);
      const shape = layer.network.outputs.map((name) => size.get(name));
      const gates = layer.gates.map((region) => places(region, shape));
      const bias = new Float64Array(product(shape));
      gates.flat().forEach((place, k) => (bias[place] = tensors[`bias.${number}`][k]));
      const networks = [[layer.network, { x: layer.x, h: layer.recurrent ? null : layer.h }]];
      if (layer.recurrent) networks.push([layer.recurrent, { x: null, h: layer.h }]);
      const chains = networks.map(([network, regions], k) => {
        const sizes = new Map(network.sizes);
        const inputs = network.inputs.map((name) => sizes.get(name));
        const where = (region) => (region ? places(region, inputs) : null);
        return {
          number: chain++,
          size: product(inputs),
          x: where(regions.x),
          h: where(regions.h),
          bias: k ? bias.map(() => 0) : bias,
          ...stagesOf(network, description.stage_lists[chain - 1]),
        };
      });
      this.layers.push({ chains, gates, hidden: layer.hidden });
    }
  }

  /** The logits of a clip: steps × N raw words, a row after the other; of the last step, or of every one. */
  run(words, steps) {
    const { gate, input, head } = this.formats;
    const inputs = words.length / steps;
    const states = this.layers.map(({ hidden }) => ({ h: new Float64Array(hidden), c: new Float64Array(hidden) }));
    const logits = [];
    for (let step = 0; step < steps; step++) {
      const scale = 2 ** (gate.hidden.frac - input.raw.frac);
      let x = range(inputs).map((k) => clipped((words[step * inputs + k] - input.offset) * scale, gate.hidden));
      this.layers.forEach((layer, k) => (x = this.step(layer, x, states[k])));
      if (head && (this.everyStep || step === steps - 1)) logits.push(this.head(x));
    }
    return logits;
  }

  step({ chains, gates, hidden }, x, state) {
    const { gate, sigmoid, tanh } = this.formats;
    const frac = (name) => gate[name].frac;
    const parts = chains.map((chain) => this.chain(chain, x, state.h));
    const z = (number, unit) => clipped(parts.reduce((sum, part) => sum + part[gates[number][unit]], 0), gate.z);
    const next = new Float64Array(hidden);
    for (let unit = 0; unit < hidden; unit++) {
      const [i, f, o] = [0, 1, 3].map((number) => lookUp(sigmoid, z(number, unit)));
      const g = lookUp(tanh, z(2, unit));
      const total = f * state.c[unit] * 2 ** (frac("activation") - frac("cell")) + i * g;
      const c = requantise(total, 2 * frac("activation") - frac("cell"), gate.cell);
      const t = lookUp(tanh, requantise(c, frac("cell") - frac("z"), gate.z));
      state.c[unit] = c;
      next[unit] = requantise(o * t, 2 * frac("activation") - frac("hidden"), gate.hidden);
    }
    return (state.h = next);
  }

  /** z of a chain, by its place in the result. */
  chain({ number, size, stages, order, ...placed }, x, h) {
    let data = new Float64Array(size);
    if (placed.x) placed.x.forEach((place, k) => (data[place] = x[k]));
    if (placed.h) placed.h.forEach((place, k) => (data[place] = h[k]));
    let source = this.formats.gate.hidden;
    stages.forEach((stage, k) => {
      const { weight, result } = this.formats.chains[number][k];
      const shift = source.frac + weight.frac - result.frac;
      const bits = weight.width + source.width - 2 + Math.ceil(Math.log2(stage.ofReduction.length)) + 1;
      const wide = Math.max(bits, result.width + shift) > Golden.narrow;
      let total = contract(stage, this.tensors[`weight.${number}.${k}`], data, wide);
      if (k === stages.length - 1) {
        const added = (place) => (wide ? BigInt(placed.bias[place]) << BigInt(shift) : placed.bias[place] * 2 ** shift);
        total = order.map((from, place) => total[from] + added(place));
      }
      data = Float64Array.from(total, (sum) => requantise(sum, shift, result));
      source = result;
    });
    return data;
  }

  head(h) {
    const { weight, result } = this.formats.head;
    const shift = this.formats.gate.hidden.frac + weight.frac - result.frac;
    const { head_weight: rows, head_bias: bias } = this.tensors;
    return Array.from(bias, (each, k) => {
      const sum = h.reduce((all, value, unit) => all + value * rows[k * h.length + unit], each * 2 ** shift);
      return requantise(sum, shift, result);
    });
  }
}
