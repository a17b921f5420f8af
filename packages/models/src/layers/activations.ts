import { gelu, mul, relu, sigmoid, silu, square, tanh, type Tensor } from "@fms-accel/tensor";

/** An elementwise function between the two halves of an MLP. */
export type Activation = (x: Tensor) => Tensor;

/** The values of `hidden_act` and what they compute. Several names of one function are as old as the checkpoints. */
const ACTIVATIONS = {
  silu,
  swish: silu,
  gelu: (x: Tensor): Tensor => gelu(x, "none"),
  gelu_new: (x: Tensor): Tensor => gelu(x, "tanh"),
  gelu_fast: (x: Tensor): Tensor => gelu(x, "tanh"),
  gelu_pytorch_tanh: (x: Tensor): Tensor => gelu(x, "tanh"),
  quick_gelu: (x: Tensor): Tensor => mul(x, sigmoid(mul(x, 1.702))),
  relu,
  relu2: (x: Tensor): Tensor => square(relu(x)),
  sigmoid,
  tanh,
} as const satisfies Record<string, Activation>;

export type ActivationName = keyof typeof ACTIVATIONS;

/** All names that `activation` takes. */
export const ACTIVATION_NAMES: readonly ActivationName[] = Object.keys(ACTIVATIONS) as ActivationName[];

/** The function of a `hidden_act` name. */
export function activation(name: ActivationName): Activation {
  return ACTIVATIONS[name];
}
