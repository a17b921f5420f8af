import type { ColumnMetaData, FileMetaData, PageHeader } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { parquetHeader } from "hyparquet/src/column.js";
import { decompressPage } from "hyparquet/src/datapage.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getSchemaPath } from "hyparquet/src/schema.js";
import type { FileBytes } from "./file-bytes.ts";
import { validateRuns } from "./parquet-runs.ts";

/** More values in one page, or bytes in one page, are damage: writers end a page after about a megabyte. */
const MOST_VALUES = 1 << 26;
const MOST_BYTES = 1 << 29;

/**
 * Checks the pages of a row group: sizes and counts within their column, and every run of levels and dictionary keys within its page.
 * The reader trusts them, and a damaged run makes it write billions of values, which ends the process.
 *
 * @throws Error that says what was expected and what was found
 */
export function validateRowGroup(file: FileBytes, metadata: FileMetaData, group: number): void {
  for (const { meta_data: column } of metadata.row_groups[group]?.columns ?? []) {
    if (column === undefined) throw new Error("a column without metadata");
    const path = getSchemaPath(metadata.schema, column.path_in_schema);
    const levels = {
      repetition: bitWidth(getMaxRepetitionLevel(path)),
      definition: bitWidth(getMaxDefinitionLevel(path)),
    };
    const dictionary = Number(column.dictionary_page_offset ?? 0n);
    const start = dictionary > 0 ? dictionary : Number(column.data_page_offset);
    const size = Number(column.total_compressed_size);
    expectWithin("a column's end", start + size, file.size);
    expectWithin("a column's start", start, file.size);
    validateColumn(file.read(start, start + size), column, levels);
  }
}

/** Bits of a level: 0 where a column has none. */
interface LevelWidths {
  readonly repetition: number;
  readonly definition: number;
}

function validateColumn(bytes: Uint8Array<ArrayBuffer>, column: ColumnMetaData, levels: LevelWidths): void {
  const reader = { view: new DataView(bytes.buffer), offset: 0 };
  let values = 0;
  while (reader.offset < bytes.length - 1) {
    const header = parquetHeader(reader);
    expectWithin("a page's size", header.compressed_page_size, bytes.length - reader.offset);
    expectWithin("a page's size", header.uncompressed_page_size, MOST_BYTES);
    const page = bytes.subarray(reader.offset, reader.offset + header.compressed_page_size);
    reader.offset += header.compressed_page_size;
    values += validatePage(page, header, column, levels);
    expectWithin("values of a column", values, Number(column.num_values));
  }
}

/** @returns the number of values of a data page */
function validatePage(page: Uint8Array, header: PageHeader, column: ColumnMetaData, levels: LevelWidths): number {
  if (header.dictionary_page_header !== undefined) {
    expectWithin(
      "entries of a dictionary",
      header.dictionary_page_header.num_values,
      header.uncompressed_page_size * 8,
    );
    return 0;
  }
  const v1 = header.data_page_header;
  const v2 = header.data_page_header_v2;
  if (v1 !== undefined) {
    expectWithin("values of a page", v1.num_values, MOST_VALUES);
    const data = decompressPage(page, header.uncompressed_page_size, column.codec, compressors);
    const view = viewOf(data);
    let offset = 0;
    for (const width of [levels.repetition, levels.definition]) {
      if (width === 0) continue;
      const size = view.getUint32(offset, true);
      validateRuns(view, offset + 4, offset + 4 + size, width, v1.num_values);
      offset += 4 + size;
    }
    validateKeys(view, offset, v1.encoding, column, v1.num_values);
    return v1.num_values;
  }
  if (v2 === undefined) return 0;
  expectWithin("values of a page", v2.num_values, MOST_VALUES);
  expectWithin("nulls of a page", v2.num_nulls, v2.num_values);
  const repetitionEnd = v2.repetition_levels_byte_length;
  const levelsEnd = repetitionEnd + v2.definition_levels_byte_length;
  expectWithin("levels of a page", repetitionEnd, page.length);
  expectWithin("levels of a page", levelsEnd, page.length);
  const view = viewOf(page);
  if (levels.repetition > 0) validateRuns(view, 0, repetitionEnd, levels.repetition, v2.num_values);
  if (levels.definition > 0) validateRuns(view, repetitionEnd, levelsEnd, levels.definition, v2.num_values);
  const codec = v2.is_compressed === false ? "UNCOMPRESSED" : column.codec;
  const data = decompressPage(page.subarray(levelsEnd), header.uncompressed_page_size - levelsEnd, codec, compressors);
  validateKeys(viewOf(data), 0, v2.encoding, column, v2.num_values - v2.num_nulls);
  return v2.num_values;
}

/** Keys into a dictionary, and booleans in runs. */
function validateKeys(view: DataView, start: number, encoding: string, column: ColumnMetaData, most: number): void {
  if (encoding === "RLE" && column.type === "BOOLEAN") {
    // How many of them are null is not counted here: runs of as many as are there at most.
    validateRuns(view, start + 4, view.byteLength, 1, most, true);
  } else if (encoding === "RLE_DICTIONARY" || encoding === "PLAIN_DICTIONARY") {
    if (start >= view.byteLength) return;
    const width = view.getUint8(start);
    if (width > 32) throw new Error(`dictionary keys of ${width} bits`);
    if (width > 0) validateRuns(view, start + 1, view.byteLength, width, most, true);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bits that the values 0 to `largest` need. */
function bitWidth(largest: number): number {
  return 32 - Math.clz32(largest);
}

function expectWithin(what: string, value: number, limit: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value > limit) {
    throw new Error(`${what}: expected at most ${limit}, found ${value}`);
  }
}
