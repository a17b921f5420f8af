/** The special variable `loop` of a for block. */
import { isEqual } from "./operators.ts";
import { Callable, TemplateObject, Tuple, typeError, Undefined, type Runtime, type Value } from "./values.ts";

/**
 * Goes through the items one by one, looking ahead by one where `loop.last` or `loop.nextitem` ask for it. Only `loop.length`
 * of a generator reads all of it.
 */
export class LoopContext extends TemplateObject {
  readonly typeName = "LoopContext";
  readonly #runtime: Runtime;
  readonly #recurse: ((iterable: Value, depth: number) => string) | undefined;
  readonly #depth: number;
  #iterator: Iterator<Value>;
  #length: number | undefined;
  #index = -1;
  #current: Value | undefined;
  #before: Value | undefined;
  #ahead: IteratorResult<Value> | undefined;
  #changed: Value | undefined;

  constructor(
    iterator: Iterator<Value>,
    length: number | undefined,
    depth: number,
    recurse: ((iterable: Value, depth: number) => string) | undefined,
    runtime: Runtime,
  ) {
    super();
    this.#iterator = iterator;
    this.#length = length;
    this.#depth = depth;
    this.#recurse = recurse;
    this.#runtime = runtime;
  }

  /** Moves to the next item; undefined at the end. */
  advance(): { readonly item: Value } | undefined {
    const next = this.#ahead ?? this.#iterator.next();
    this.#ahead = undefined;
    if (next.done === true) {
      return undefined;
    }
    this.#index++;
    this.#before = this.#current;
    this.#current = next.value;
    return { item: next.value };
  }

  #peek(): IteratorResult<Value> {
    this.#ahead ??= this.#iterator.next();
    return this.#ahead;
  }

  get #total(): number {
    if (this.#length === undefined) {
      const rest: Value[] = [];
      for (let next = this.#iterator.next(); next.done !== true; next = this.#iterator.next()) {
        rest.push(next.value);
        this.#runtime.budget.step();
      }
      this.#iterator = rest.values();
      this.#length = rest.length + this.#index + 1 + (this.#ahead !== undefined && this.#ahead.done !== true ? 1 : 0);
    }
    return this.#length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return BigInt(this.#index + 1);
      case "index0":
        return BigInt(this.#index);
      case "revindex":
        return BigInt(this.#total - this.#index);
      case "revindex0":
        return BigInt(this.#total - this.#index - 1);
      case "first":
        return this.#index === 0;
      case "last":
        return this.#peek().done === true;
      case "length":
        return BigInt(this.#total);
      case "depth":
        return BigInt(this.#depth + 1);
      case "depth0":
        return BigInt(this.#depth);
      case "previtem":
        return this.#index === 0 || this.#before === undefined ? this.#none("there is no previous item") : this.#before;
      case "nextitem": {
        const next = this.#peek();
        return next.done === true ? this.#none("there is no next item") : next.value;
      }
      case "cycle":
        return new Callable("cycle", ({ positional }) => {
          if (positional.length === 0) {
            throw typeError("no items for cycling given");
          }
          return positional[this.#index % positional.length] ?? null;
        });
      case "changed":
        return new Callable("changed", ({ positional }, runtime) => {
          const value = new Tuple(positional);
          const changed = this.#changed === undefined || !isEqual(this.#changed, value, runtime);
          this.#changed = value;
          return changed;
        });
      default:
        return undefined;
    }
  }

  #none(message: string): Undefined {
    return new Undefined(message, this.#runtime.strictUndefined);
  }

  /** `loop(items)` in a recursive for block: renders the block again for those items. */
  recurse(iterable: Value | undefined): string {
    if (this.#recurse === undefined || iterable === undefined) {
      throw typeError("The loop must have the 'recursive' marker to be called recursively.");
    }
    return this.#recurse(iterable, this.#depth + 1);
  }
}
