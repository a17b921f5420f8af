import { DataType, Type, type Data, type RecordBatch } from "apache-arrow";

/**
 * Checks that everything in a batch points into the batch: apache-arrow trusts offsets and lengths, and a damaged one makes it walk
 * over billions of items that do not exist.
 *
 * @throws Error that names the column, what was expected and what was found
 */
export function validateBatch(batch: RecordBatch): void {
  for (const [i, column] of batch.data.children.entries()) {
    const name = batch.schema.fields[i]?.name ?? String(i);
    if (column.length !== batch.numRows) fail(name, `${batch.numRows} rows`, String(column.length));
    validateColumn(column, name);
  }
}

function validateColumn(column: Data, name: string): void {
  const { type, length, nullBitmap } = column;
  if (!Number.isSafeInteger(length) || length < 0) fail(name, "a number of items", String(length));
  const hasNulls = nullBitmap.length > 0;
  if (hasNulls && nullBitmap.length * 8 < length) fail(name, `${length} bits of nulls`, `${nullBitmap.length} bytes`);
  if (DataType.isList(type) || DataType.isLargeList(type) || DataType.isMap(type)) {
    validateOffsets(column, childOf(column, name).length, name);
  } else if (
    DataType.isUtf8(type) ||
    DataType.isLargeUtf8(type) ||
    DataType.isBinary(type) ||
    DataType.isLargeBinary(type)
  ) {
    validateOffsets(column, column.values.length, name);
  } else if (DataType.isFixedSizeList(type)) {
    const { length: items } = childOf(column, name);
    if (items < length * type.listSize) fail(name, `${length} lists of ${type.listSize}`, `${items} items`);
  } else if (DataType.isStruct(type)) {
    for (const child of column.children) if (child.length < length) fail(name, `${length} items`, String(child.length));
  } else if (DataType.isDictionary(type)) {
    validateDictionary(column, name);
  } else if (DataType.isBool(type)) {
    if (column.values.length * 8 < length) fail(name, `${length} bits`, `${column.values.length} bytes`);
  } else if (!DataType.isNull(type)) {
    if (!hasPlainValues(type)) fail(name, "numbers, text, lists or structs", Type[column.typeId]);
    if (column.values.length < length * column.stride) fail(name, `${length} values`, String(column.values.length));
  }
  for (const child of column.children) validateColumn(child, name);
}

function hasPlainValues(type: DataType): boolean {
  const numbers = DataType.isInt(type) || DataType.isFloat(type) || DataType.isDecimal(type);
  const times =
    DataType.isDate(type) || DataType.isTime(type) || DataType.isTimestamp(type) || DataType.isDuration(type);
  return numbers || times || DataType.isFixedSizeBinary(type);
}

/** Offsets must rise from 0 or above to at most `limit`. */
function validateOffsets(column: Data, limit: number, name: string): void {
  const offsets = column.valueOffsets as ArrayLike<number | bigint> | undefined;
  if (column.length === 0) return;
  if (offsets === undefined || offsets.length < column.length + 1) {
    fail(name, `${column.length + 1} offsets`, String(offsets?.length ?? 0));
  }
  let last = 0;
  for (let i = 0; i <= column.length; i++) {
    const offset = Number(offsets[i]);
    if (!(offset >= last)) fail(name, `an offset from ${last} on`, String(offset));
    last = offset;
  }
  if (last > limit) fail(name, `offsets up to ${limit}`, String(last));
}

function validateDictionary(column: Data, name: string): void {
  const { dictionary } = column;
  if (dictionary === undefined) fail(name, "a dictionary", "none");
  for (const part of dictionary.data) validateColumn(part, name);
  const keys = column.values as ArrayLike<number | bigint>;
  if (keys.length < column.length) fail(name, `${column.length} keys`, String(keys.length));
  for (let i = 0; i < column.length; i++) {
    const key = Number(keys[i]);
    if ((key < 0 || key >= dictionary.length) && column.getValid(i)) {
      fail(name, `keys below ${dictionary.length}`, String(key));
    }
  }
}

function childOf(column: Data, name: string): Data {
  const [child] = column.children;
  if (child === undefined) fail(name, "a list of something", "nothing");
  return child;
}

function fail(column: string, expected: string, found: string): never {
  throw new Error(`column ${JSON.stringify(column)}: expected ${expected}, found ${found}`);
}
