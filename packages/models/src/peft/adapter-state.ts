/** Which adapters of a model are in use. All adapted modules of one model share one of these. */
export interface AdapterState {
  /** Adapters whose products are added, in this order. */
  active: readonly string[];
  /** false: the model computes as without any adapter. */
  enabled: boolean;
  /** Weights do not change at present: what is derived from them alone may be kept from one call to the next. */
  weightsHeld: boolean;
}
