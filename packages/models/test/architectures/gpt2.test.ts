import { noGrad, tensor } from "@fms-accel/tensor";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { modelTensors, savePretrained } from "../../src/auto/save-pretrained.ts";
import { ModelInputError } from "../../src/errors.ts";
import { inScope, openModel } from "./golden.ts";

describe("gpt2", () => {
  it("opens files whose names lack the prefix and that hold mask buffers, and saves them with the prefix", async () => {
    const [published, plain] = [await openModel("gpt2-hub"), await openModel("gpt2")];
    const directory = temporaryDirectory();
    savePretrained(published, directory);
    const saved = await AutoModelForCausalLM.fromPretrained(directory);
    const names = [...modelTensors(plain).keys()];
    for (const model of [published, saved]) {
      const tensors = modelTensors(model);
      expect([...tensors.keys()]).toEqual(names);
      for (const [name, weight] of modelTensors(plain)) {
        expect(Buffer.compare(tensors.get(name)!.toBytes(), weight.toBytes()), name).toBe(0);
      }
    }
  });

  it("makes fresh weights of all kinds", () => {
    const config = { model_type: "gpt2", vocab_size: 16, n_embd: 8, n_head: 2, n_layer: 1, n_positions: 4 };
    const model = AutoModelForCausalLM.fromConfig(config, { dtype: "float32" });
    const weights = modelTensors(model);
    expect(weights.get("transformer.h.0.attn.c_attn.weight")!.shape).toEqual([8, 24]);
    expect(
      weights
        .get("transformer.h.0.attn.c_attn.weight")!
        .toArray()
        .every((x) => x !== 0 && Math.abs(x) < 0.2),
    ).toBe(true);
    expect(
      weights
        .get("transformer.h.0.attn.c_attn.bias")!
        .toArray()
        .every((x) => x === 0),
    ).toBe(true);
    model.dispose();
  });

  it("says so when a sequence is longer than its positions", async () => {
    const model = await openModel("gpt2");
    const inputIds = tensor(new Int32Array(65), { shape: [1, 65] });
    expect(() => inScope(() => noGrad(() => model.forward({ inputIds })))).toThrow(ModelInputError);
    expect(() => inScope(() => noGrad(() => model.forward({ inputIds })))).toThrow(
      /position 64 is beyond the model's 64/,
    );
    const positionIds = tensor([[63, 64]], { dtype: "int32" });
    const short = tensor([[1, 2]], { dtype: "int32" });
    expect(() => inScope(() => model.forward({ inputIds: short, positionIds }))).toThrow(/position 64 is beyond/);
  });
});
