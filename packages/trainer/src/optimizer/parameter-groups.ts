import { LayerNorm, type Module, type Parameter } from "@fms-accel/tensor";

/** Parts of a name that keep a parameter from weight decay: Hugging Face Trainer's list. */
const undecayedNames: readonly RegExp[] = [/bias/, /layernorm/, /rmsnorm/, /(?:^|\.)norm(?:$|\.)/, /_norm(?:$|\.)/];

/** Whether weight decay applies to a parameter of this name (biases and norms are left alone; embeddings and lm_head decay). */
export function isDecayedName(name: string): boolean {
  const lower = name.toLowerCase();
  return undecayedNames.every((pattern) => !pattern.test(lower));
}

export interface NamedParameterGroup {
  readonly weightDecay: number;
  readonly names: readonly string[];
  readonly params: readonly Parameter[];
}

/**
 * The trainable parameters of a model as Hugging Face's Trainer groups them: decayed ones first, then those without decay. Parameters of a
 * LayerNorm module do not decay, whatever their name.
 */
export function createParameterGroups(model: Module, weightDecay: number): NamedParameterGroup[] {
  const layerNorms = [...model.namedModules()]
    .filter(([, module]) => module instanceof LayerNorm)
    .map(([name]) => `${name}.`);
  const trainable = [...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad);
  const isDecayed = (name: string): boolean =>
    isDecayedName(name) && !layerNorms.some((prefix) => name.startsWith(prefix));
  const group = (decay: number, members: typeof trainable): NamedParameterGroup => ({
    weightDecay: decay,
    names: members.map(([name]) => name),
    params: members.map(([, parameter]) => parameter),
  });
  return [
    group(
      weightDecay,
      trainable.filter(([name]) => isDecayed(name)),
    ),
    group(
      0,
      trainable.filter(([name]) => !isDecayed(name)),
    ),
  ];
}
