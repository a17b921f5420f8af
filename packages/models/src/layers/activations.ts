import { gelu, mul, relu, sigmoid, silu, square, swiglu, tanh, type Tensor } from "@fms-accel/tensor";

/** An elementwise function between the two halves of an MLP. */
export type Activation = (x: Tensor) => Tensor;

/** Values of `hidden_act`. Several are names of one function, as old as the checkpoints that use them. */
export type ActivationName =
  | "silu"
  | "swish"
  | "gelu"
  | "gelu_new"
  | "gelu_fast"
  | "gelu_pytorch_tanh"
  | "quick_gelu"
  | "relu"
  | "relu2"
  | "sigmoid"
  | "tanh";

const ACTIVATIONS: Readonly<Record<ActivationName, Activation>> = {
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
};

/** All names that `activation` takes. */
export const ACTIVATION_NAMES: readonly ActivationName[] = Object.keys(ACTIVATIONS) as ActivationName[];

/** The function of a `hidden_act` name. */
export function activation(name: ActivationName): Activation {
  return ACTIVATIONS[name];
}

/** act(gate) · up, the middle of a gated MLP (https://arxiv.org/abs/2002.05202). */
export function gated(act: Activation, gate: Tensor, up: Tensor): Tensor {
  return act === silu ? swiglu(gate, up) : mul(act(gate), up);
}
