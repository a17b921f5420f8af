import { select, slice } from "@fms-accel/tensor";

import type { FusedParameter, TensorMapping, TensorPart } from "./architecture.ts";

/** What published checkpoints call the parts of a layer's mixture of experts. */
export interface ExpertNames {
  /** The module of the router and the experts, such as "block_sparse_moe". */
  readonly block: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/**
 * The layout that transformers 5 keeps in memory and can write: all experts of a layer in `mlp.experts.gate_up_proj`
 * `[experts, 2·intermediate, hidden]`, gate rows first, and `mlp.experts.down_proj` `[experts, hidden, intermediate]`. Its parts are the
 * weights of the experts one by one.
 */
export function fusedExperts({ block, gate, up, down }: ExpertNames): readonly TensorMapping[] {
  const perExpert = (
    layer: string,
    shape: readonly number[],
    parts: (name: string, rows: number, expert: number) => TensorPart[],
  ): readonly TensorPart[] => {
    const [experts, rows] = shape;
    return shape.length !== 3
      ? []
      : Array.from({ length: experts! }, (_, expert) =>
          parts(`${layer}.${block}.experts.${expert}`, rows!, expert),
        ).flat();
  };
  return [
    {
      pattern: /^(model\.layers\.\d+)\.mlp\.experts\.gate_up_proj$/,
      parts: ([, layer], shape) =>
        perExpert(layer!, shape, (name, rows, expert) =>
          rows % 2 !== 0
            ? []
            : [gate, up].map((field, half) => ({
                name: `${name}.${field}.weight`,
                shape: [rows / 2, shape[2]!],
                take: (whole) => slice(select(whole, 0, expert), 0, (half * rows) / 2, ((half + 1) * rows) / 2),
              })),
        ),
    },
    {
      pattern: /^(model\.layers\.\d+)\.mlp\.experts\.down_proj$/,
      parts: ([, layer], shape) =>
        perExpert(layer!, shape, (name, rows, expert) => [
          { name: `${name}.${down}.weight`, shape: [rows, shape[2]!], take: (whole) => select(whole, 0, expert) },
        ]),
    },
    {
      pattern: /^(model\.layers\.\d+)\.mlp\.gate\.weight$/,
      parts: ([, layer], shape) => [{ name: `${layer}.${block}.gate.weight`, shape, take: (whole) => whole }],
    },
  ];
}

/** The same layout for adapters: what their `target_parameters` mean in the layers of these indices. */
export function fusedExpertParameters(
  { block, gate, up, down }: ExpertNames,
  layers: Iterable<number>,
  experts: number,
): readonly FusedParameter[] {
  return [...layers].flatMap((layer) => {
    const [path, own] = [`model.layers.${layer}.mlp`, `model.layers.${layer}.${block}`];
    const fuse = (name: string, fields: readonly string[]): FusedParameter => ({
      module: `${path}.experts`,
      name,
      matrices: Array.from({ length: experts }, (_, expert) =>
        fields.map((field) => `${own}.experts.${expert}.${field}`),
      ),
    });
    return [
      { module: `${path}.gate`, name: "weight", matrices: [[`${own}.gate`]] },
      fuse("gate_up_proj", [gate, up]),
      fuse("down_proj", [down]),
    ];
  });
}
