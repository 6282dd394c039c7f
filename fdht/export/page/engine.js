"use strict";
// The engine: the gateware as WebAssembly, in a worker of its own where the browser allows one.

/** Answers messages about one engine; the worker is made of this function's text, so it uses nothing from outside. */
function engineHost() {
  let engine;
  const words = (array) => new Uint16Array(engine.memory.buffer, engine.inputs(), array.length).set(array);
  const read = (place, count) => new Uint32Array(engine.memory.buffer, place, count).slice();
  return {
    async load({ module, image }) {
      engine = (await WebAssembly.instantiate(module)).instance.exports;
      words(image);
      engine.load(image.length);
      return { most: engine.most_inputs() };
    },
    async begin({ sent, steps }) {
      words(sent);
      engine.begin(steps, sent.length);
      return {};
    },
    async advance({ cycles }) {
      const over = engine.advance(cycles) !== 0;
      const outputs = read(engine.outputs(), engine.sent());
      const events = read(engine.events(), 2 * engine.happened());
      return { over, outputs, events, cycles: engine.cycles() };
    },
  };
}

/** The other end: `call(name, message)` gives a promise of the answer. */
function startEngine() {
  try {
    const source = `const host = (${engineHost})();
      onmessage = async ({ data }) => {
        try { postMessage({ answer: await host[data.name](data.message) }); }
        catch (error) { postMessage({ error: String(error) }); }
      };`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const waiting = [];
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = waiting.shift();
      if (data.error) reject(new Error(data.error));
      else resolve(data.answer);
    };
    return (name, message) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        worker.postMessage({ name, message });
      });
  } catch {
    const host = engineHost();
    return (name, message) => host[name](message);
  }
}
