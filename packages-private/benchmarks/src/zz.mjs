import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@fms-accel/models";
import { memoryStats, resetPeakMemory, scope, startProfile, tensor } from "@fms-accel/tensor";
import { SHAPES, loraStepFlops } from "./shapes.mjs";
const shape = {...SHAPES["135m"], num_hidden_layers: Number(process.argv[2] ?? 6)};
const model = AutoModelForCausalLM.fromConfig(shape, { dtype: process.argv[3] ?? "bfloat16" });
const adapted = getPeftModel(model, new LoraConfig({ r: 16, loraAlpha: 16, loraDropout: 0, targetModules: "all-linear" }));
adapted.train(); if (process.argv[4]) { const { prepackWeight } = await import("@fms-accel/tensor"); for (const p of adapted.parameters()) if (!p.requiresGrad && p.ndim === 2 && p.shape[0] !== 49152) prepackWeight(p, process.argv[3], {backward: true}); }
const ids = Int32Array.from({length: 2048}, (_, i) => (i * 7919) % 49000);
const step = () => scope(() => {
  const { loss } = adapted.forward({ inputIds: tensor(ids, {shape: [4, 512]}), labels: tensor(ids, {shape: [4, 512]}) });
  loss.backward();
  for (const p of adapted.parameters()) { p.grad?.dispose(); p.grad = undefined; }
  return loss.item();
});
console.log(step());
for (let i = 0; i < 2; i++) { const t = performance.now(); step(); const s = (performance.now() - t) / 1000; console.log(s, loraStepFlops(shape, [512,512,512,512], 16) / s / 1e9); }
resetPeakMemory();
const stop = startProfile(); const t = performance.now(); step(); const total = (performance.now() - t) / 1000;
const rows = stop();
for (const r of rows.slice(0, 45)) console.log(r.operation.padEnd(44), String(r.calls).padStart(6), r.seconds.toFixed(4), (100*r.seconds/total).toFixed(1)+"%", r.flops ? (r.flops/r.seconds/1e9).toFixed(0) : "");
console.log("js", total - rows.reduce((a, r) => a + r.seconds, 0), memoryStats().peakBytes/2**20, process.resourceUsage().maxRSS/1024);
