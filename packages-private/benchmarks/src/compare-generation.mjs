// Greedy decoding, batch 1, against Hugging Face's generate on this machine, in one run: peer, ours, ours, peer. The memory's bandwidth is
// measured in our process between the tokens, over the very weights that decoding reads and over as many bytes in one piece.
//   node src/compare-generation.mjs [--python venv/bin/python] [--shape 135m] [--dtype bfloat16,float32] [--tokens 128] [--out NAME.csv]
// Without --python (a virtual environment with peer/requirements.txt) only ours is timed, and the output says so. Nothing else may run meanwhile.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { runProgram, sayIfPeerIsSkipped, writeFigures } from "./peer-comparison.mjs";

const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    shape: { type: "string", default: "135m" },
    dtype: { type: "string", default: "bfloat16,float32" },
    prompt: { type: "string", default: "16" },
    tokens: { type: "string", default: "128" },
    repeats: { type: "string", default: "3" },
    threads: { type: "string", default: String(cpus().length) },
    out: { type: "string" },
  },
});

function run(command, program, dtype, flags = []) {
  const settings = ["shape", "prompt", "tokens", "repeats"].flatMap((name) => [`--${name}`, options[name]]);
  return JSON.parse(runProgram(command, [program, ...settings, "--dtype", dtype, ...flags], options.threads).at(-1));
}
const ours = (dtype) => run(process.execPath, "src/generate.mjs", dtype);
const theirs = (dtype) =>
  options.python === undefined
    ? undefined
    : run(options.python, "peer/generate.py", dtype, ["--threads", options.threads]);

const results = options.dtype.split(",").map((dtype) => {
  const peers = [theirs(dtype)];
  const own = [ours(dtype), ours(dtype)];
  peers.push(theirs(dtype));
  const best = own.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a));
  const peer = peers[0] && Math.max(...peers.map((one) => one.tokens_per_second));
  const row = {
    cpu: cpus()[0].model.trim(),
    isa: best.isa,
    shape: options.shape,
    dtype,
    prompt: best.prompt,
    tokens: best.tokens,
    threads: Number(options.threads),
    tokensPerSecond: best.tokensPerSecond,
    mebibytesPerToken: best.bytesPerToken / 2 ** 20,
    bandwidthGigabytesPerSecond: own.map((one) => one.bandwidthGigabytesPerSecond),
    shareOfBandwidth: own.map((one) => one.shareOfBandwidth),
    peerTokensPerSecond: peer,
    timesFaster: peer && best.tokensPerSecond / peer,
  };
  console.log(JSON.stringify(row));
  return row;
});
sayIfPeerIsSkipped(options.python);
writeFigures(options.out, results);
