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

const TITLE = "***************** Module Forwards Patching *************";

/** One line for each rule, module name and class, sorted, with how many modules they are; empty when there are none. */
export function summarisePatches(records: readonly PatchRecord[]): string {
  if (records.length === 0) return "";
  const rows = new Map<string, { readonly record: PatchRecord; count: number }>();
  for (const record of records) {
    const key = JSON.stringify([record.ruleId, record.moduleName, record.moduleClass]);
    const row = rows.get(key);
    if (row === undefined) rows.set(key, { record, count: 1 });
    else row.count++;
  }
  const lines = [...rows.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { record, count }]) => {
      const { ruleId, moduleName, moduleClass } = record;
      return `Rule: ${ruleId.padEnd(15)} Module: ${moduleName.padEnd(25)} Class: ${moduleClass.padEnd(15)} Num: ${String(count).padStart(2)}`;
    });
  return [TITLE, ...lines].join("\n");
}

/** A sentence for each pair of rules and module name that met. */
export function describeConflicts(conflicts: readonly PatchConflict[]): string[] {
  const counts = new Map<string, { readonly conflict: PatchConflict; count: number }>();
  for (const conflict of conflicts) {
    const key = JSON.stringify([conflict.ruleId, conflict.appliedRuleId, conflict.moduleName]);
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { conflict, count: 1 });
    else known.count++;
  }
  return [...counts.values()].map(({ conflict: { ruleId, appliedRuleId, moduleName, path }, count }) => {
    const where = count === 1 ? path || "the model" : `${count} modules "${moduleName}", the first of them ${path}`;
    return `Rule "${ruleId}" is not applied to ${where}: rule "${appliedRuleId}" came first.`;
  });
}
