// Times greedy decoding of one shape in this process, batch 1, and prints one line of JSON.
//   node src/generate.mjs --shape 135m --dtype bfloat16 [--prompt 16] [--tokens 128] [--repeats 3] [--profile]
import { parseArgs } from "node:util";
import { AutoModelForCausalLM, generateStream } from "@fms-accel/models";
import { engineInfo, full, readBandwidth, startProfile } from "@fms-accel/tensor";
import { SHAPES } from "./shapes.mjs";

const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "135m" },
    dtype: { type: "string", default: "bfloat16" },
    prompt: { type: "string", default: "16" },
    tokens: { type: "string", default: "128" },
    repeats: { type: "string", default: "3" },
    profile: { type: "boolean", default: false },
  },
});

const shape = SHAPES[options.shape];
const promptLength = Number(options.prompt);
const newTokens = Number(options.tokens);
const model = AutoModelForCausalLM.fromConfig(shape, { dtype: options.dtype });
model.eval();
const prompt = Array.from({ length: promptLength }, (_, at) => 3 + ((at * 7919) % (shape.vocab_size - 3)));

/** Seconds of each token after the first one, which is that of the prompt; `between` runs after every eighth, and is not counted. */
async function decode(tokens, between = () => {}) {
  const seconds = [];
  let before;
  const settings = { maxNewTokens: tokens, minNewTokens: tokens, doSample: false };
  for await (const { index } of generateStream(model, { inputIds: [prompt] }, settings)) {
    if (index > 0) seconds.push(Number(process.hrtime.bigint() - before) * 1e-9);
    if (index % 8 === 7) between();
    before = process.hrtime.bigint();
  }
  return seconds;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

// What all threads read a second, in the same seconds as the tokens: the weights where they lie, and as many bytes in one piece.
// What a page of memory gives depends on the page, so the faster of the two counts.
const parameters = [...model.parameters()];
const weights = parameters.reduce((sum, parameter) => sum + parameter.numel, 0);
const piece = full([weights], 0, { dtype: options.dtype });
const bandwidths = { weights: [], piece: [] };
function measureBandwidth() {
  bandwidths.weights.push(readBandwidth(parameters));
  bandwidths.piece.push(readBandwidth([piece]));
}

await decode(8);
const all = [];
let best = Infinity;
for (let repeat = 0; repeat < Number(options.repeats); repeat++) {
  const seconds = await decode(newTokens, measureBandwidth);
  best = Math.min(
    best,
    seconds.reduce((a, b) => a + b, 0),
  );
  all.push(...seconds);
}
const middle = median(all);
const bandwidth = Math.max(median(bandwidths.weights), median(bandwidths.piece));

// What one token must read: every weight once, and keys and values of half of the way on average.
const itemBytes = options.dtype === "float32" ? 4 : 2;
const headDim = shape.head_dim ?? shape.hidden_size / shape.num_attention_heads;
const cached = promptLength + newTokens / 2;
const cacheElements = 2 * shape.num_hidden_layers * shape.num_key_value_heads * headDim * cached;
const bytesPerToken = itemBytes * (weights + cacheElements);

if (options.profile) {
  const stop = startProfile();
  const start = process.hrtime.bigint();
  const count = 32;
  await decode(count);
  const total = Number(process.hrtime.bigint() - start) * 1e-9;
  const rows = stop();
  const native = rows.reduce((sum, row) => sum + row.seconds, 0);
  console.error("operation                                calls/token   ms/token  share");
  for (const row of [...rows.slice(0, 40), { operation: "JavaScript", calls: 0, seconds: total - native }]) {
    console.error(
      `${row.operation.padEnd(40)} ${(row.calls / count).toFixed(1).padStart(11)} ${((1000 * row.seconds) / count).toFixed(3).padStart(10)} ${((100 * row.seconds) / total).toFixed(1).padStart(5)}%`,
    );
  }
  console.error(`calls/token: ${(rows.reduce((sum, row) => sum + row.calls, 0) / count).toFixed(0)}`);
}
console.log(
  JSON.stringify({
    engine: "fms-accel",
    isa: engineInfo().isa,
    threads: engineInfo().threads,
    shape: options.shape,
    dtype: options.dtype,
    prompt: promptLength,
    tokens: newTokens,
    tokensPerSecond: (newTokens - 1) / best,
    medianMs: 1000 * middle,
    bytesPerToken,
    bandwidthGigabytesPerSecond: bandwidth / 1e9,
    // Medians of both: a neighbour on the machine slows down single tokens and single readings.
    shareOfBandwidth: bytesPerToken / middle / bandwidth,
  }),
);
