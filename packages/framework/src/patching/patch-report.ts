/** A module whose forward was replaced, or that a rule without a forward found. */
export interface PatchRecord {
  readonly ruleId: string;
  /** The plugin that brought the rule; empty for a rule of the program's own. */
  readonly owner: string;
  readonly path: string;
  /** Last part of the path; of an element of a list the list's name. */
  readonly moduleName: string;
  readonly moduleClass: string;
  readonly parentPath: string;
  /** Empty for the model itself. */
  readonly parentClass: string;
}

/** A module for which a rule came too late: an earlier one holds. */
export interface PatchConflict {
  readonly path: string;
  readonly moduleName: string;
  readonly ruleId: string;
  /** The rule that holds. */
  readonly appliedRuleId: string;
}
