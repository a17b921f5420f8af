import { typeError, type CallArguments, type Value } from "./values.ts";

/**
 * Arguments by parameter: positional ones first, then those named. A missing one is undefined.
 *
 * @throws JinjaError (TypeError) for too many, unknown, doubled or missing arguments.
 */
export function bind(
  call: CallArguments,
  name: string,
  parameters: readonly string[],
  required = 0,
): (Value | undefined)[] {
  if (call.positional.length > parameters.length) {
    const most = parameters.length === 1 ? "1 argument" : `${parameters.length} arguments`;
    throw typeError(`${name}() takes at most ${most} (${call.positional.length} given)`);
  }
  const values: (Value | undefined)[] = Array.from({ length: parameters.length }, (_, index) => call.positional[index]);
  for (const [keyword, value] of call.keyword) {
    const index = parameters.indexOf(keyword);
    if (index === -1) {
      throw typeError(`${name}() got an unexpected keyword argument '${keyword}'`);
    }
    if (values[index] !== undefined) {
      throw typeError(`${name}() got multiple values for argument '${keyword}'`);
    }
    values[index] = value;
  }
  const missing = parameters.slice(0, required).filter((_, index) => values[index] === undefined);
  if (missing.length > 0) {
    throw typeError(
      `${name}() missing required argument${missing.length > 1 ? "s" : ""}: ${missing.map((each) => `'${each}'`).join(", ")}`,
    );
  }
  return values;
}

/** A string argument. */
export function textArgument(value: Value | undefined, name: string, otherwise?: string): string {
  if (typeof value === "string") {
    return value;
  }
  if (value === undefined && otherwise !== undefined) {
    return otherwise;
  }
  throw typeError(
    `${name} must be str, not ${value === undefined || value === null ? "None" : typeof value === "object" ? "an object" : typeof value}`,
  );
}
