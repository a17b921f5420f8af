/** The tree that the parser builds: one discriminated union of expressions, one of statements. */

export type Expression =
  | { readonly kind: "constant"; readonly value: null | boolean | bigint | number | string }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "list"; readonly items: readonly Expression[] }
  | { readonly kind: "tuple"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: "attribute"; readonly object: Expression; readonly name: string }
  | { readonly kind: "item"; readonly object: Expression; readonly index: Expression | SliceNode }
  | { readonly kind: "call"; readonly callee: Expression; readonly call: CallNode }
  | FilterNode
  | {
      readonly kind: "test";
      readonly operand: Expression;
      readonly name: string;
      readonly call: CallNode;
      readonly line: number;
    }
  | { readonly kind: "not"; readonly operand: Expression }
  | { readonly kind: "sign"; readonly sign: "+" | "-"; readonly operand: Expression }
  | { readonly kind: "and" | "or"; readonly operands: readonly Expression[] }
  | {
      readonly kind: "compare";
      readonly first: Expression;
      readonly rest: readonly (readonly [ComparisonOperator, Expression])[];
    }
  | {
      readonly kind: "arithmetic";
      readonly first: Expression;
      readonly rest: readonly (readonly [ArithmeticOperator, Expression])[];
    }
  | { readonly kind: "concatenation"; readonly operands: readonly Expression[] }
  | {
      readonly kind: "conditional";
      readonly condition: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | undefined;
      readonly line: number;
    };

export type ComparisonOperator = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";
export type ArithmeticOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";

export interface SliceNode {
  readonly kind: "slice";
  readonly start: Expression | undefined;
  readonly stop: Expression | undefined;
  readonly step: Expression | undefined;
}

export interface CallNode {
  readonly positional: readonly Expression[];
  readonly keyword: readonly (readonly [string, Expression])[];
  readonly spread: Expression | undefined;
  readonly keywordSpread: Expression | undefined;
}

export interface FilterNode {
  readonly kind: "filter";
  /** Undefined for the first filter of a `{% filter %}` block or a `{% set %}` block: the block's text. */
  readonly operand: Expression | undefined;
  readonly name: string;
  readonly call: CallNode;
  readonly line: number;
}

/** What can be assigned: a name, a namespace's attribute, or a tuple of targets. */
export type Target =
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "namespace"; readonly name: string; readonly attribute: string }
  | { readonly kind: "tuple"; readonly items: readonly Target[] };

export interface Signature {
  readonly names: readonly string[];
  /** Defaults of the last parameters. */
  readonly defaults: readonly Expression[];
}

export type Statement = { readonly line: number } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "print"; readonly value: Expression }
  | { readonly kind: "if"; readonly branches: readonly (readonly [Expression, Block])[]; readonly otherwise: Block }
  | {
      readonly kind: "for";
      readonly target: Target;
      readonly iterable: Expression;
      readonly test: Expression | undefined;
      readonly recursive: boolean;
      readonly body: Block;
      readonly otherwise: Block;
    }
  | { readonly kind: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: "setBlock";
      readonly target: Target;
      readonly filter: FilterNode | undefined;
      readonly body: Block;
    }
  | { readonly kind: "macro"; readonly name: string; readonly signature: Signature; readonly body: Block }
  | {
      readonly kind: "callBlock";
      readonly callee: Expression;
      readonly call: CallNode;
      readonly signature: Signature;
      readonly body: Block;
    }
  | { readonly kind: "filterBlock"; readonly filter: FilterNode; readonly body: Block }
  | {
      readonly kind: "with";
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: Block;
    }
  | { readonly kind: "generation"; readonly body: Block }
  | { readonly kind: "scope"; readonly body: Block }
  | { readonly kind: "break" | "continue" }
);

export type Block = readonly Statement[];
