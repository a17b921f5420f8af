/** Which adapters of a model are in use. All adapted modules of one model share one of these. */
export interface AdapterState {
  /** Adapters whose products are added, in this order. */
  active: readonly string[];
  /** false: the model computes as without any adapter. */
  enabled: boolean;
}
