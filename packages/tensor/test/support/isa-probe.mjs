// Runs kernels through the native addon alone and prints a hash of each result, for a process with its own FMS_ACCEL_ISA.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const path = fileURLToPath(new URL("../../build/Release/fms_accel_tensor.node", import.meta.url));
const engine = createRequire(import.meta.url)(path);
engine.initialise(new Float64Array(22), Error);

const FLOAT32 = 0;
const CPU = 0;
const DTYPES = ["float32", "bfloat16", "float16", "int32", "int64", "uint8", "bool"];
const UNARY_COUNT = 22;
const BINARY_COUNT = 20;
const ROWS = 37;
const COLUMNS = 1131;

const hashes = {};
function record(name, handle) {
  hashes[name] = createHash("sha256")
    .update(new Uint8Array(engine.readBytes(handle)))
    .digest("hex");
  engine.release(handle);
}

const x = engine.empty([ROWS, COLUMNS], FLOAT32, CPU);
const y = engine.empty([ROWS, COLUMNS], FLOAT32, CPU);
engine.normalInto(x, 0, 3, 1n, 0n);
engine.uniformInto(y, 0.1, 9, 2n, 0n);
record("normal", engine.alias(x));
record("uniform", engine.alias(y));
record("dropout", engine.dropout(x, 0.3, 3n, 0n));
for (let op = 0; op < UNARY_COUNT; op++) {
  record(`unary ${op}`, engine.unary(op, 1.7, 2.5, x));
  record(`unary ${op}, positive`, engine.unary(op, -0.3, 2.5, y));
}
for (let op = 0; op < BINARY_COUNT; op++) record(`binary ${op}`, engine.binary(op, x, y));
for (const [dtype, name] of DTYPES.entries()) {
  const narrow = engine.cast(x, dtype);
  record(`cast to ${name}`, engine.alias(narrow));
  record(`cast from ${name}`, engine.cast(narrow, FLOAT32));
  for (let op = 0; op < 4; op++) {
    for (const dims of [[0], [1], [0, 1]])
      record(`reduce ${op} of ${name} over ${dims.join(",")}`, engine.reduce(op, narrow, dims, false));
  }
  record(`argmax of ${name}`, engine.argmax(narrow, 1, false));
  record(`cumsum of ${name}`, engine.cumsum(narrow, 0, false));
  record(`sort of ${name}`, engine.sortIndices(narrow, 1, false));
  engine.release(narrow);
}
record("logsumexp", engine.logsumexp(x, [1], false));
for (const logarithm of [false, true]) {
  const result = engine.softmax(x, 1, logarithm, FLOAT32);
  record(`softmax gradient ${logarithm}`, engine.softmaxGradient(result, y, 1, logarithm, FLOAT32));
  record(`softmax ${logarithm}`, result);
}
const labels = engine.fromBytes(
  Int32Array.from({ length: ROWS }, (_, i) => i * 29),
  [ROWS],
  3,
  CPU,
);
const { losses, logsumexp } = engine.crossEntropy(x, labels, -100, true);
record("cross entropy gradient", engine.crossEntropyGradient(x, labels, logsumexp, -100, losses, 0.5));
record("cross entropy", losses);
const ids = engine.fromBytes(
  Int32Array.from({ length: ROWS }, (_, i) => (i * i) % 11),
  [ROWS],
  3,
  CPU,
);
record("embedding gradient", engine.embeddingGradient(x, ids, 11, -1, FLOAT32));
const first = engine.contiguous(x);
const second = engine.unary(7, 0, 0, x);
engine.adamw([y], [x], [first], [second], [0.01], [0.1], [3], 0.9, 0.999, 1e-8);
record("adamw", engine.alias(y));
hashes.norm = String(engine.globalNorm([x, y]));

process.stdout.write(JSON.stringify({ isa: engine.engineInfo().isa, hashes }));
