import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { glob, isDynamicPattern } from "tinyglobby";
import { DatasetError, reasonOf } from "./errors.ts";

/** How a data file is read. */
export type DataFormat = "json" | "parquet" | "arrow";

const FORMATS: Readonly<Record<string, DataFormat>> = {
  ".json": "json",
  ".jsonl": "json",
  ".ndjson": "json",
  ".parquet": "parquet",
  ".arrow": "arrow",
  ".feather": "arrow",
};

/** Files that HF `datasets` writes beside the data. */
const METADATA_FILES: ReadonlySet<string> = new Set([
  "dataset_info.json",
  "dataset_infos.json",
  "dataset_dict.json",
  "state.json",
]);

/** A file and how to read it. */
export interface DataFile {
  readonly path: string;
  readonly format: DataFormat;
}

/**
 * The files that paths, folders and glob patterns name: patterns and folders in the order of their names, paths in the order given.
 * A folder stands for the data files directly in it; one written by HF `save_to_disk` for the files that its `state.json` lists.
 *
 * @throws DatasetError where a path does not exist, a folder or pattern holds no data file, or an ending is unknown
 */
export async function findDataFiles(paths: readonly string[], format?: DataFormat): Promise<DataFile[]> {
  if (paths.length === 0) throw new DatasetError("no data", {}, { expected: "at least one path" });
  const found: DataFile[] = [];
  for (const path of paths) {
    if (path === "") throw new DatasetError("no data", {}, { expected: "a path", found: "an empty one" });
    for (const file of await resolvePath(path)) found.push({ path: file, format: format ?? formatOf(file) });
  }
  return found;
}

async function resolvePath(path: string): Promise<readonly string[]> {
  if (existsSync(path)) return statSync(path).isDirectory() ? filesInFolder(path) : [path];
  if (!isDynamicPattern(path)) throw new DatasetError("no such file or folder", { file: path });
  const matches = await glob(path, { absolute: false, expandDirectories: false });
  if (matches.length === 0) throw new DatasetError("the pattern matches no file", { file: path });
  return matches.sort();
}

function filesInFolder(folder: string): readonly string[] {
  const saved = filesOfSavedDataset(folder);
  if (saved !== undefined) return saved;
  const entries = readdirSync(folder, { withFileTypes: true });
  const files = entries
    .filter(
      (entry) => !entry.isDirectory() && !METADATA_FILES.has(entry.name) && formatByName(entry.name) !== undefined,
    )
    .map((entry) => join(folder, entry.name))
    .sort();
  if (files.length > 0) return files;
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  throw new DatasetError(
    "no data in the folder",
    { file: folder },
    {
      expected: `files that end in ${Object.keys(FORMATS).join(", ")}`,
      ...(folders.length > 0 ? { hint: `its folders are ${folders.slice(0, 5).join(", ")}: name one of them` } : {}),
    },
  );
}

/** The data files of a folder that HF `save_to_disk` wrote: old shards may lie beside them. */
function filesOfSavedDataset(folder: string): readonly string[] | undefined {
  const path = join(folder, "state.json");
  if (!existsSync(path)) return undefined;
  let state: unknown;
  try {
    state = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new DatasetError(`not valid JSON (${reasonOf(error)})`, { file: path }, { cause: error });
  }
  const listed =
    typeof state === "object" && state !== null && "_data_files" in state && Array.isArray(state._data_files)
      ? (state._data_files as unknown[])
      : undefined;
  return listed?.map((entry) => {
    const name = typeof entry === "object" && entry !== null && "filename" in entry ? entry.filename : undefined;
    if (typeof name !== "string") {
      throw new DatasetError('no "filename" in "_data_files"', { file: path }, { expected: "names of .arrow files" });
    }
    return join(folder, name);
  });
}

function formatByName(path: string): DataFormat | undefined {
  return FORMATS[extname(path).toLowerCase()];
}

function formatOf(path: string): DataFormat {
  const format = formatByName(path);
  if (format === undefined) {
    throw new DatasetError(
      "unknown kind of file",
      { file: path },
      { expected: `an ending of ${Object.keys(FORMATS).join(", ")}`, found: JSON.stringify(extname(path)) },
    );
  }
  return format;
}
