import { openArrowFile } from "./arrow-dataset.ts";
import { findDataFiles, type DataFile, type DataFormat } from "./data-files.ts";
import { ConcatenatedDataset, type Dataset } from "./dataset.ts";
import { DatasetError } from "./errors.ts";
import { openJsonFile } from "./json-dataset.ts";
import { openParquetFile } from "./parquet-dataset.ts";

export interface LoadDatasetOptions {
  /** How to read the files, whatever their names end in. */
  readonly format?: DataFormat;
}

/**
 * Opens json, jsonl, parquet and arrow files, folders of them, or glob patterns, as one dataset. Kinds may be mixed. Rows stay in
 * their files; an index of them is made in one pass.
 *
 * @param pathOrPaths files, folders and patterns; their rows follow each other in this order
 * @throws DatasetError where a file is missing, damaged or of an unknown kind, or where there is not one row
 */
export async function loadDataset(
  pathOrPaths: string | readonly string[],
  options: LoadDatasetOptions = {},
): Promise<Dataset> {
  const paths = typeof pathOrPaths === "string" ? [pathOrPaths] : pathOrPaths;
  const files = await findDataFiles(paths, options.format);
  const shards: Dataset[] = [];
  for (const file of files) shards.push(await openDataFile(file));
  const dataset = shards.length === 1 ? shards[0]! : new ConcatenatedDataset(shards);
  if (dataset.length === 0) throw new DatasetError("no rows", { file: paths.join(", ") });
  return dataset;
}

async function openDataFile(file: DataFile): Promise<Dataset> {
  const dataset = await open(file);
  const names = new Set<string>();
  for (const name of dataset.columnNames) {
    if (names.has(name)) throw new DatasetError("the column comes twice", { file: file.path, column: name });
    names.add(name);
  }
  return dataset;
}

function open({ path, format }: DataFile): Promise<Dataset> {
  switch (format) {
    case "json":
      return openJsonFile(path);
    case "parquet":
      return openParquetFile(path);
    case "arrow":
      return openArrowFile(path);
    default:
      return Promise.reject(
        new DatasetError("unknown format", { file: path }, { found: String(format satisfies never) }),
      );
  }
}
