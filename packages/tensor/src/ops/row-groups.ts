/** Rows dealt out to groups, as tokens to experts. Native side: native/ops/indexing.cc. */
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";

/** How many rows each of several groups has. Known where the rows lie: on a GPU nothing waits to learn it. */
export class RowGroups {
  readonly groups: number;
  /** int64 `[rows]`: the rows of group 0 as they came, then those of group 1, … */
  readonly order: Tensor;
  /** int64 `[groups + 1]`: where the rows of each group begin in `order`, and where those of the last one end. */
  readonly offsets: Tensor;

  /** @internal Made by `groupRows`: nothing looks at the values later. */
  constructor(groups: number, order: Tensor, offsets: Tensor) {
    this.groups = groups;
    this.order = order;
    this.offsets = offsets;
  }

  /** How many rows each group has; waits for a GPU. */
  counts(): number[] {
    const offsets = this.offsets.toArray();
    return offsets.slice(1).map((end, group) => end - (offsets[group] as number));
  }
}

/**
 * Deals rows out to groups; a group's rows keep their order.
 *
 * @param group integers `[rows]` in [0, groups): the group of each row
 * @throws {TensorError} for a group that does not exist
 */
export function groupRows(group: Tensor, groups: number): RowGroups {
  const [order, offsets] = native.groupRows(group.handle, groups);
  return new RowGroups(groups, new Tensor(order), new Tensor(offsets));
}
