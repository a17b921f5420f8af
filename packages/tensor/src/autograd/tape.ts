/**
 * Reverse-mode automatic differentiation. Each recorded operation is a node that knows its inputs' nodes, holds the tensors that
 * its vjp (vector-Jacobian product) needs, and lets go of them as soon as the vjp has run, or when nothing can ask for it any more.
 */
import { isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { keep, scope, track, untrack } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { gradMode, withGradMode } from "./grad-mode.ts";

/**
 * The gradient that other operations have given an input of this shape's numel so far, where it may be added to in place: contiguous, the
 * elements in the input's order, seen by nobody else. A vjp that adds its own to it gives undefined for that input.
 */
export type GradientSoFar = (input: number) => Tensor | undefined;

/** Gradients of the inputs, given those of the outputs; undefined where none is needed, none flows, or it was added already. */
export type Vjp = (
  gradients: readonly (Tensor | undefined)[],
  needs: readonly boolean[],
  soFar: GradientSoFar,
) => (Tensor | undefined)[];

// Where an input's gradient goes: to the operation that made it, to a leaf, or nowhere.
type Edge = { node: TapeNode; output: number } | { leaf: Tensor } | undefined;

let nextOrder = 0;

/** @internal One recorded operation. */
export class TapeNode {
  readonly name: string;
  readonly order: number = nextOrder++;
  readonly inputs: readonly Edge[];
  #vjp: Vjp | undefined;
  #saved: Tensor[];
  // Output tensors and later nodes that can still ask for this node.
  #users = 0;
  /** Gradients of the outputs, as far as they have arrived. */
  readonly gradients: (Tensor | undefined)[] = [];

  constructor(name: string, inputs: readonly Tensor[], saved: readonly Tensor[], vjp: Vjp) {
    this.name = name;
    this.#vjp = vjp;
    this.#saved = saved.map((tensor) => tensor.addOwner());
    this.inputs = inputs.map((input): Edge => {
      if (input.node !== undefined) return { node: input.node.addUser(), output: input.outputIndex };
      return input.requiresGrad ? { leaf: input.addOwner() } : undefined;
    });
  }

  addUser(): this {
    this.#users++;
    return this;
  }
  release(): void {
    if (--this.#users === 0) this.free();
  }
  get needs(): boolean[] {
    return this.inputs.map((edge) => edge !== undefined);
  }
  /** Runs the vjp inside the current scope, which takes over the output gradients. */
  run(): (Tensor | undefined)[] {
    if (this.#vjp === undefined) {
      throw new TensorError(`backward: the tape of "${this.name}" was already used; run the forward pass again`);
    }
    // The gradients become the running scope's: a vjp may hand one on as it is.
    const gradients = this.gradients.splice(0);
    for (const gradient of gradients) if (gradient !== undefined) track(gradient);
    return this.#vjp(gradients, this.needs, (input) => gradientSoFar(this.inputs[input]));
  }
  /** Drops saved tensors and gradients, and the hold on earlier nodes. */
  free(): void {
    if (this.#vjp === undefined) return;
    this.#vjp = undefined;
    for (const tensor of this.#saved) tensor.releaseOwner();
    this.#saved = [];
    for (const gradient of this.gradients) gradient?.releaseOwner();
    this.gradients.length = 0;
    for (const edge of this.inputs) {
      if (edge === undefined) continue;
      if ("leaf" in edge) edge.leaf.releaseOwner();
      else edge.node.release();
    }
  }
}

/**
 * Records that `outputs` were computed from `inputs`. `saved` lists the tensors that `vjp` reads; an output that it reads must
 * be passed as `output.detach()`, or the node would keep itself alive. Does nothing where no input needs a gradient.
 */
export function recordMany(
  name: string,
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  saved: readonly Tensor[],
  vjp: Vjp,
): void {
  const node = new TapeNode(name, inputs, saved, vjp);
  outputs.forEach((output, index) => {
    if (!isFloating(output.dtype)) return;
    output.node = node.addUser();
    output.outputIndex = index;
    output.requiresGrad = true;
  });
}

/** Whether an operation on these inputs must be recorded. */
export function needsTape(inputs: readonly Tensor[]): boolean {
  for (const input of inputs) {
    if (!input.requiresGrad) continue;
    if (!gradMode.enabled) gradMode.skippedDifferentiable = true;
    return gradMode.enabled;
  }
  return false;
}

/** `recordMany` for one output; returns it. */
export function recordOperation(
  name: string,
  output: Tensor,
  inputs: readonly Tensor[],
  saved: readonly Tensor[],
  vjp: (gradient: Tensor, needs: readonly boolean[], soFar: GradientSoFar) => (Tensor | undefined)[],
): Tensor {
  if (needsTape(inputs)) {
    recordMany(name, [output], inputs, saved, (gradients, needs, soFar) => vjp(gradients[0] as Tensor, needs, soFar));
  }
  return output;
}

// A reshape that has got no gradient itself hands on what it will get, so what its input has counts.
function gradientSoFar(edge: Edge): Tensor | undefined {
  if (edge === undefined || "leaf" in edge) return undefined;
  const present = edge.node.gradients[edge.output];
  if (present === undefined) return edge.node.name === "reshape" ? gradientSoFar(edge.node.inputs[0]) : undefined;
  return present.isContiguous && present.isExclusive ? present : undefined;
}

// A gradient may be shared with another slot (addition hands the same tensor to both operands), so it is added to in place
// only where nothing else can see it.
function accumulate(node: TapeNode, output: number, gradient: Tensor): void {
  const present = node.gradients[output];
  if (present === undefined) {
    node.gradients[output] = gradient.addOwner();
  } else if (present.isExclusive) {
    native.addInto(present.handle, gradient.handle);
  } else {
    node.gradients[output] = present.plus(gradient).addOwner();
    present.releaseOwner();
  }
}

// A leaf's gradient has the leaf's dtype, is contiguous and shared with nobody.
function accumulateLeaf(leaf: Tensor, gradient: Tensor): void {
  const present = leaf.grad;
  if (present === undefined) {
    const isFresh = gradient.isExclusive && gradient.dtype === leaf.dtype && gradient.isContiguous;
    leaf.grad = isFresh && untrack(gradient) ? keep(gradient) : keep(gradient.copy(leaf.dtype));
  } else if (present.isExclusive) {
    native.addInto(present.handle, gradient.handle);
  } else {
    leaf.grad = keep(present.plus(gradient).copy(leaf.dtype));
    present.dispose();
  }
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, d) => size === b[d]);
}

/** @internal See `Tensor.backward`. */
export function backward(root: Tensor, gradient: Tensor | undefined): void {
  if (root.node === undefined) {
    throw new TensorError(
      root.requiresGrad
        ? "backward: called on a leaf; compute something from it first"
        : "backward: this tensor does not depend on any tensor that requires a gradient",
    );
  }
  if (gradient === undefined && root.numel !== 1) {
    throw new TensorError(
      `backward: shape [${root.shape.join(", ")}] needs a gradient argument; only scalars do without`,
    );
  }
  if (gradient !== undefined && !sameShape(gradient.shape, root.shape)) {
    throw new TensorError(`backward: gradient of shape [${gradient.shape.join(", ")}] for [${root.shape.join(", ")}]`);
  }
  backwardMany([{ tensor: root, gradient }]);
}

/** @internal Runs backward from several outputs at once. */
export function backwardMany(roots: readonly { tensor: Tensor; gradient: Tensor | undefined }[]): void {
  withGradMode(false, () => {
    const pending = new Set<TapeNode>();
    const visit = (start: TapeNode): void => {
      const stack = [start];
      for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
        if (pending.has(node)) continue;
        pending.add(node);
        for (const edge of node.inputs) if (edge !== undefined && "node" in edge) stack.push(edge.node);
      }
    };
    for (const { tensor } of roots) if (tensor.node !== undefined) visit(tensor.node);
    // An operation's inputs were made before it, so descending creation order is a topological order.
    const ordered = [...pending].sort((a, b) => b.order - a.order);
    // A node that has run lets go of the nodes before it; these must not be freed before their turn.
    for (const node of ordered) node.addUser();
    let done = 0;
    try {
      scope(() => {
        for (const { tensor, gradient } of roots) {
          if (tensor.node !== undefined) accumulate(tensor.node, tensor.outputIndex, gradient ?? tensor.filledLike(1));
        }
      });
      for (; done < ordered.length; done++) {
        const node = ordered[done] as TapeNode;
        if (node.gradients.some((gradient) => gradient !== undefined)) runNode(node);
        node.free();
        node.release();
      }
    } finally {
      for (const node of ordered.slice(done)) node.release();
    }
  });
}

function runNode(node: TapeNode): void {
  scope(() => {
    const results = node.run();
    node.inputs.forEach((edge, index) => {
      const result = results[index];
      if (edge === undefined || result === undefined) return;
      if ("leaf" in edge) accumulateLeaf(edge.leaf, result);
      else accumulate(edge.node, edge.output, result);
    });
  });
}
