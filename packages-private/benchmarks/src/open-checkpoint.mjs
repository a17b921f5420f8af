// Opens a checkpoint of 2.5 GB: seconds until the model stands, and what it adds to resident memory before and after every weight is read.
//   node src/open-checkpoint.mjs
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AutoModelForCausalLM } from "@fms-accel/models";
import { scope, sum } from "@fms-accel/tensor";
import { SHAPES } from "./shapes.mjs";

const config = { ...SHAPES["1b-4l"], num_hidden_layers: 16, torch_dtype: "bfloat16" };
const directory = mkdtempSync(join(tmpdir(), "fms-accel-open-"));

// The layout of a Llama checkpoint, with a hole in the file for its data: reading it costs the same page faults as real weights.
function writeCheckpoint() {
  const { hidden_size: h, intermediate_size: i, vocab_size: v, head_dim: d } = config;
  const kv = config.num_key_value_heads * d;
  const shapes = { "model.embed_tokens.weight": [v, h], "model.norm.weight": [h] };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `model.layers.${layer}`;
    Object.assign(shapes, {
      [`${name}.self_attn.q_proj.weight`]: [config.num_attention_heads * d, h],
      [`${name}.self_attn.k_proj.weight`]: [kv, h],
      [`${name}.self_attn.v_proj.weight`]: [kv, h],
      [`${name}.self_attn.o_proj.weight`]: [h, config.num_attention_heads * d],
      [`${name}.mlp.gate_proj.weight`]: [i, h],
      [`${name}.mlp.up_proj.weight`]: [i, h],
      [`${name}.mlp.down_proj.weight`]: [h, i],
      [`${name}.input_layernorm.weight`]: [h],
      [`${name}.post_attention_layernorm.weight`]: [h],
    });
  }
  let offset = 0;
  const header = { __metadata__: { format: "pt" } };
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = shape.reduce((a, b) => a * b, 2);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, (offset += bytes)] };
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json + " ".repeat((8 - (json.length % 8)) % 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(directory, "model.safetensors"), "w");
  writeSync(file, length);
  writeSync(file, text);
  ftruncateSync(file, 8 + text.length + offset);
  closeSync(file);
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
  return offset;
}

function residentMib() {
  const status = readFileSync("/proc/self/status", "utf8");
  const read = (key) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? NaN) / 1024;
  return { anonymous: Math.round(read("RssAnon")), file: Math.round(read("RssFile")) };
}

try {
  const bytes = writeCheckpoint();
  const before = residentMib();
  const start = performance.now();
  const model = await AutoModelForCausalLM.fromPretrained(directory);
  const seconds = (performance.now() - start) / 1000;
  const opened = residentMib();
  scope(() => {
    for (const parameter of model.parameters()) sum(parameter).item();
  });
  const read = residentMib();
  console.log(
    JSON.stringify({
      checkpointMib: Math.round(bytes / 2 ** 20),
      openSeconds: Number(seconds.toFixed(3)),
      openedAnonymousMib: opened.anonymous - before.anonymous,
      readAnonymousMib: read.anonymous - before.anonymous,
      readFileMib: read.file - before.file,
    }),
  );
} finally {
  rmSync(directory, { recursive: true });
}
