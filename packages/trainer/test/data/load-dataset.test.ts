import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DatasetError, loadDataset } from "../../src/data/index.ts";
import { allRows, errorOf, fixture, TemporaryFolder } from "./fixtures.ts";

const BOM = "\uFEFF";

/** Typed arrays and lists are equal here; the timestamp is an ISO string (parquet) or milliseconds (Arrow). */
function comparable(row: Readonly<Record<string, unknown>>): unknown {
  const when = row["when"];
  return {
    ...row,
    input_ids: Array.from(row["input_ids"] as number[]),
    labels: Array.from(row["labels"] as number[]),
    when: (typeof when === "string" ? Date.parse(when) : Number(when)) - 1_700_000_000_000,
  };
}

describe("json and jsonl", () => {
  const rows = [
    { text: "Grüße 🙂", n: 1 },
    { text: "two", n: [1, 2] },
    { text: "", other: null },
  ];
  const texts: Record<string, string> = {
    "lines.jsonl": rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    "no-newline-at-the-end.jsonl": rows.map((row) => JSON.stringify(row)).join("\n"),
    "crlf.jsonl": rows.map((row) => `${JSON.stringify(row)}\r\n`).join(""),
    "bom.jsonl": BOM + rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    "blank-lines.jsonl": `\n${rows.map((row) => `${JSON.stringify(row)}\n \t\r\n`).join("")}\n`,
    "list.json": JSON.stringify(rows),
    "pretty.json": `${JSON.stringify(rows, null, 2)}\n`,
    "data.json": JSON.stringify({ version: "1", note: { a: ["]", '"', "\\"] }, data: rows, after: [1, 2] }, null, 1),
    "lines.json": rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    "list-in.jsonl": BOM + JSON.stringify(rows),
  };

  it.each(Object.keys(texts))("%s", async (name) => {
    using folder = new TemporaryFolder();
    const dataset = await loadDataset(folder.write(name, texts[name]!));
    expect(dataset.length).toBe(3);
    expect(dataset.columnNames).toEqual(["text", "n", "other"]);
    expect(await allRows(dataset)).toEqual(rows);
    expect(await dataset.row(2)).toEqual(rows[2]);
    expect(await dataset.row(0)).toEqual(rows[0]);
    dataset.release();
    expect(await dataset.row(1)).toEqual(rows[1]);
    dataset.release();
  });

  it("reads rows longer than a block, and rows that span blocks", async () => {
    using folder = new TemporaryFolder();
    const rows = [10, 3_000_000, 5, 700_000, 700_000, 1].map((length, i) => ({ text: String(i).repeat(length) }));
    for (const text of [rows.map((row) => JSON.stringify(row)).join("\n"), JSON.stringify(rows)]) {
      const dataset = await loadDataset(folder.write("long.jsonl", text));
      expect(dataset.length).toBe(6);
      expect(await allRows(dataset)).toEqual(rows);
      expect(await dataset.row(1)).toEqual(rows[1]);
      dataset.release();
    }
  });

  it("streams a part", async () => {
    using folder = new TemporaryFolder();
    const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ i })).join("\n");
    const dataset = await loadDataset(folder.write("a.jsonl", lines));
    const got: unknown[] = [];
    for await (const row of dataset.rows(5, 9)) got.push(row["i"]);
    expect(got).toEqual([5, 6, 7, 8]);
    dataset.release();
  });

  it("names file and line, what was expected and what was found", async () => {
    using folder = new TemporaryFolder();
    const cases: [string, string | Uint8Array, RegExp][] = [
      ["broken.jsonl", '{"a": 1}\n\n{"a": }\n', /broken\.jsonl, line 3: not valid JSON \(Unexpected token .*\)/],
      [
        "number.jsonl",
        '{"a": 1}\n7\n',
        /number\.jsonl, line 2: not a row: expected an object .*, found a number \(7\)/,
      ],
      ["strings.json", '["a", "b"]', /strings\.json, line 1: not a row: expected an object .*, found a string \("a"\)/],
      [
        "open.json",
        '[{"a": 1},\n{"a": 2}',
        /open\.json, line 2: not valid JSON: expected ",", found the end of the file/,
      ],
      ["behind.json", '[{"a": 1}]\n{"a": 2}', /behind\.json, line 2: text behind the list/],
      ["comma.json", '[{"a": 1},]', /comma\.json, line 1: not valid JSON: expected a value, found "\]"/],
      ["latin.jsonl", Buffer.from('{"a": "\xe4"}', "latin1"), /latin\.jsonl, line 1: not valid UTF-8/],
      [
        "utf16.jsonl",
        Buffer.from('\uFEFF{"a": 1}', "utf16le"),
        /utf16\.jsonl: wrong encoding: expected UTF-8, found UTF-16/,
      ],
      ["packed.jsonl", Uint8Array.of(0x1f, 0x8b, 8, 0), /packed\.jsonl: compressed: expected text, found gzip/],
      ["nan.jsonl", '{"a": NaN}', /nan\.jsonl, line 1: not valid JSON/],
      ["empty.jsonl", "", /empty\.jsonl: no rows/],
      ["blank.jsonl", " \n\n", /blank\.jsonl: no rows/],
      ["twice.json", '{"data": [{"a": 1}], "data": [{"a": 2}]}', /twice\.json, line 1: key "data" comes twice/],
    ];
    for (const [name, text, message] of cases) {
      const error = await errorOf(() => loadDataset(folder.write(name, text)));
      expect(error, name).toBeInstanceOf(DatasetError);
      expect(error.message).toMatch(message);
    }
  });

  it("finds damage behind the first rows when it gets there", async () => {
    using folder = new TemporaryFolder();
    const good = '{"a": 1}\n'.repeat(100);
    const dataset = await loadDataset(folder.write("late.jsonl", `${good}{"a": 1\n${good}`));
    expect(dataset.length).toBe(201);
    const error = await errorOf(() => allRows(dataset));
    expect(error).toMatchObject({ name: "DatasetError", line: 101, row: 100 });
    expect(await dataset.row(150)).toEqual({ a: 1 });
    dataset.release();
  });
});

describe("parquet and arrow", () => {
  const expected = Array.from({ length: 50 }, (_, i) => {
    const ids = Array.from({ length: 1 + (i % 9) }, (_, j) => (7 * i + j) % 300);
    return {
      text: `Zeile ${i}: Grüße 🙂`,
      input_ids: ids,
      labels: [-100, ...ids.slice(1)],
      messages: [
        { role: "user", content: `question ${i}` },
        { role: "assistant", content: `answer ${i}` },
      ],
      score: i % 7 === 0 ? null : i / 4,
      when: i,
      flag: i % 2 === 0,
    };
  });

  const files = ["none", "snappy", "gzip", "brotli", "zstd", "lz4", "v2-pages"].map((codec) => `${codec}.parquet`);
  it.each([...files, "stream.arrow", "file.arrow"])("%s", async (name) => {
    const dataset = await loadDataset(fixture(`data/files/${name}`));
    expect(dataset.length).toBe(50);
    expect(dataset.columnNames).toEqual(Object.keys(expected[0]!));
    expect((await allRows(dataset)).map(comparable)).toEqual(expected);
    for (const i of [49, 0, 20, 19, 41]) expect(comparable(await dataset.row(i))).toEqual(expected[i]);
    dataset.release();
    expect(comparable(await dataset.row(7))).toEqual(expected[7]);
    dataset.release();
  });

  it("reads dictionaries, large strings and lists with nulls", async () => {
    const dataset = await loadDataset(fixture("data/files/dictionary.arrow"));
    const rows = await allRows(dataset);
    expect(rows).toEqual(
      Array.from({ length: 50 }, (_, i) => ({
        text: ["ja", "nein", null][i % 3],
        large: `row ${i}`,
        list: [i, null, i + 1],
      })),
    );
    dataset.release();
  });

  it.each(["out-of-range.parquet", "out-of-range.arrow"])("%s: a 64-bit integer that no number holds", async (name) => {
    const dataset = await loadDataset(fixture(`data/files/${name}`));
    expect(await dataset.row(0)).toEqual({ text: "a", big: 1 });
    const error = await errorOf(() => dataset.row(1));
    expect(error.message).toMatch(/row 1, column "big": 64-bit integer out of range: .* found 1152921504606846976$/);
    dataset.release();
  });

  it("says what is wrong with files that cannot be read", async () => {
    using folder = new TemporaryFolder();
    const parquet = readFileSync(fixture("data/files/snappy.parquet"));
    const arrow = readFileSync(fixture("data/files/stream.arrow"));
    const cases: [string, Uint8Array, RegExp][] = [
      ["text.parquet", Buffer.from('{"a": 1}\n{"a": 2}\n'), /text\.parquet: not a parquet file/],
      ["cut.parquet", parquet.subarray(0, parquet.length - 100), /cut\.parquet: not a parquet file/],
      ["text.arrow", Buffer.from('{"a": 1}\n{"a": 2}\n'), /text\.arrow: (damaged|not an) Arrow file/],
      ["cut.arrow", arrow.subarray(0, arrow.length - 100), /cut\.arrow: damaged Arrow file/],
      ["empty.arrow", new Uint8Array(0), /empty\.arrow: not an Arrow file/],
    ];
    for (const [name, bytes, message] of cases) {
      const error = await errorOf(() => loadDataset(folder.write(name, bytes)));
      expect(error, name).toBeInstanceOf(DatasetError);
      expect(error.message).toMatch(message);
    }
    const compressed = await errorOf(() => loadDataset(fixture("data/files/lz4.feather")));
    expect(compressed.message).toMatch(/lz4\.feather: compressed Arrow buffers are not supported; write the file with/);
  });
});

describe("files, folders and patterns", () => {
  it("mixes kinds of shards in the order of their names", async () => {
    using folder = new TemporaryFolder();
    folder.write("b.json", '[{"text": "b"}]');
    folder.write("a.jsonl", '{"text": "a0", "x": 1}\n{"text": "a1"}\n');
    folder.write("c.parquet", readFileSync(fixture("data/files/none.parquet")));
    folder.write("d.jsonl", "");
    folder.write("notes.txt", "not data");
    const dataset = await loadDataset(folder.path);
    expect(dataset.length).toBe(53);
    expect((await allRows(dataset)).slice(0, 4).map((row) => row["text"])).toEqual([
      "a0",
      "a1",
      "b",
      "Zeile 0: Grüße 🙂",
    ]);
    expect(dataset.columnNames.slice(0, 3)).toEqual(["text", "x", "input_ids"]);
    expect(dataset.origin(1)).toEqual({ file: join(folder.path, "a.jsonl"), line: 2, row: 1 });
    expect(dataset.origin(4)).toEqual({ file: join(folder.path, "c.parquet"), row: 1 });
    expect((await errorOf(() => dataset.row(53))).message).toBe("no such row: expected a row from 0 to 52, found 53");
    dataset.release();
    const some = await loadDataset([join(folder.path, "*.json"), join(folder.path, "a.jsonl")]);
    expect((await allRows(some)).map((row) => row["text"])).toEqual(["b", "a0", "a1"]);
    some.release();
  });

  it("opens hundreds of shards without as many open files", async () => {
    using folder = new TemporaryFolder();
    for (let i = 0; i < 200; i++) folder.write(`${String(i).padStart(3, "0")}.jsonl`, `{"i": ${i}}\n`);
    const dataset = await loadDataset(join(folder.path, "*.jsonl"));
    const forwards = (await allRows(dataset)).map((row) => row["i"]);
    expect(forwards).toEqual(Array.from({ length: 200 }, (_, i) => i));
    for (let i = 199; i >= 0; i -= 13) expect(await dataset.row(i)).toEqual({ i });
    dataset.release();
  });

  it("reads what HF save_to_disk leaves: the files that state.json lists, not the metadata", async () => {
    using folder = new TemporaryFolder();
    folder.write("dataset_info.json", "{}");
    folder.write("stale.jsonl", '{"text": "old"}');
    folder.write("state.json", '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}');
    folder.write("data-00000-of-00001.arrow", readFileSync(fixture("data/files/stream.arrow")));
    const dataset = await loadDataset(folder.path);
    expect(dataset.length).toBe(50);
    dataset.release();
  });

  it("says what was not found", async () => {
    using folder = new TemporaryFolder();
    const inside = join(folder.path, "train");
    mkdirSync(inside);
    const cases: [string | string[], RegExp][] = [
      [join(folder.path, "none.jsonl"), /none\.jsonl: no such file or folder/],
      [join(folder.path, "*.jsonl"), /\*\.jsonl: the pattern matches no file/],
      [
        folder.path,
        /no data in the folder: expected files that end in \.json.*; its folders are train: name one of them/,
      ],
      [folder.write("data.csv", "a,b"), /data\.csv: unknown kind of file: expected an ending of .*, found "\.csv"/],
      [[], /no data: expected at least one path/],
      ["", /no data: expected a path/],
    ];
    for (const [path, message] of cases) {
      const error = await errorOf(() => loadDataset(path));
      expect(error).toBeInstanceOf(DatasetError);
      expect(error.message).toMatch(message);
    }
    const forced = await loadDataset(folder.write("rows.txt", '{"a": 1}\n'), { format: "json" });
    expect(await allRows(forced)).toEqual([{ a: 1 }]);
    forced.release();
  });
});
