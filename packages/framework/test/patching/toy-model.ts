import { Embedding, LayerNorm, Linear, Module, type Tensor } from "@fms-accel/tensor";

/** A subclass of Linear, to tell `instanceof` from equality of classes; its name is its parent's, as in the reference. */
const Subclass = { Linear: class extends Linear {} };
Object.defineProperty(Subclass.Linear, "name", { value: "Linear" });
export const LinearSubclass: typeof Linear = Subclass.Linear;

export class Attention extends Module {
  q_proj: Linear = new Linear(2, 2);
  k_proj: Linear = new Linear(2, 2);
  o_proj: Linear = new LinearSubclass(2, 2);

  forward(x: Tensor): Tensor {
    return this.o_proj.forward(this.k_proj.forward(this.q_proj.forward(x)));
  }
}

export class Block extends Module {
  self_attn: Attention = new Attention();
  norm: LayerNorm = new LayerNorm(2);

  forward(x: Tensor): Tensor {
    return this.norm.forward(this.self_attn.forward(x));
  }
}

/** The model of the reference vectors. */
export class Toy extends Module {
  embed: Embedding = new Embedding(4, 2);
  layers: Block[];
  norm: LayerNorm = new LayerNorm(2);

  constructor(layers = 2) {
    super();
    this.layers = Array.from({ length: layers }, () => new Block());
    for (const parameter of this.parameters()) parameter.copyFrom(ramp(parameter.numel));
  }

  forward(ids: Tensor): Tensor {
    let x = this.embed.forward(ids);
    for (const layer of this.layers) x = layer.forward(x);
    return this.norm.forward(x);
  }
}

function ramp(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => Math.sin(index + 1));
}
