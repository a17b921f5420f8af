/** The pictures of packing: axolotl's letters, and functionary's attention matrices. */
import { readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { attentionPicture, drawBatch, drawScale, letterOf, type DrawingColors } from "../../src/index.ts";
import { writePicture } from "../../src/preview/write-picture.ts";

const same = (text: string): string => text;
const plain: DrawingColors = {
  isColorSupported: false,
  dim: same,
  bold: same,
  red: same,
  green: same,
  yellow: same,
  blue: same,
  magenta: same,
  cyan: same,
};

const { drawing } = readJsonFixture<{ lists: { drawing: number[] } }>("data/packing.json").lists;
const samples = drawing.map((tokens, index) => ({ letter: letterOf(index), tokens }));

describe("the drawing of 12 samples in 4 × 16 characters", () => {
  it("is axolotl's after packing", () => {
    const lines = drawBatch([samples], { scale: 1, columns: 16, colors: plain }, 64);
    expect([drawScale(16, plain), ...lines]).toEqual([
      "   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5",
      "[[ A A A A A A A A A A A B B B B B",
      "   B C C C C C C C D D D D E E E E",
      "   E E E E F F F F F G G G H H H H",
      "   I I I J J J J K K K K K L L L L ]]",
    ]);
  });

  it("is axolotl's padded to the longest of a step", () => {
    const step = samples.slice(0, 4).map((sample) => [sample]);
    expect(drawBatch(step, { scale: 1, columns: 16, colors: plain })).toEqual([
      "[[ A A A A A A A A A A A ]",
      "   B B B B B B X X X X X ]",
      "   C C C C C C C X X X X ]",
      "   D D D D X X X X X X X ]]",
    ]);
  });

  it("is the same with 256 tokens a character, and pads what is left of the row", () => {
    const long = samples.map(({ letter, tokens }) => ({ letter, tokens: 256 * tokens }));
    const at = (list: typeof samples, scale: number): string[] =>
      drawBatch([list], { scale, columns: 16, colors: plain }, 64 * scale);
    expect(at(long, 256)).toEqual(at(samples, 1));
    expect(at(long.slice(0, -1), 256).at(-1)).toBe("   I I I J J J J K K K K K X X X X ]]");
  });

  it("gives neighbours different colours", () => {
    const named: DrawingColors = {
      ...plain,
      green: (text) => `<g>${text}`,
      yellow: (text) => `<y>${text}`,
      dim: (text) => `<d>${text}`,
    };
    expect(drawBatch([samples.slice(0, 2)], { scale: 6, columns: 16, colors: named }, 24)).toEqual([
      "[[ <g>A <g>A <y>B <d>X ]]",
    ]);
  });
});

describe("the picture of attention", () => {
  it("has a triangle a sample on the right, one for all on the left, and the borders between them on both", () => {
    const svg = attentionPicture([3, 2, 4]);
    expect(svg.match(/fill="#9a9a9a"/g)).toHaveLength(1);
    expect(svg.match(/<path d="[^"]*Z" fill="#(?!9a9a9a)/g)).toHaveLength(3);
    expect(svg.match(/class="border"/g)).toHaveLength(4);
    // 360 pixels for 9 tokens: the second sample begins at 120 and ends at 200.
    expect(svg).toContain('<path d="M120.00 120.00H160.00V160.00H200.00V200.00H120.00Z" fill="#d95f02"/>');
  });

  it("is drawn for rows of any length", () => {
    expect(attentionPicture([])).toContain("<svg");
    expect(attentionPicture([4096, 28_672]).length).toBeLessThan(4000);
  });

  it("is written as SVG or PNG, by the file's name", async () => {
    const folder = temporaryDirectory();
    const svg = attentionPicture([2, 1]);
    await writePicture(join(folder, "a.svg"), svg);
    expect(readFileSync(join(folder, "a.svg"), "utf8")).toBe(svg);
    await writePicture(join(folder, "a.PNG"), svg);
    const png = readFileSync(join(folder, "a.PNG"));
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    // Twice the size of the SVG, so that it is sharp.
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1608, 860]);
    await expect(writePicture(join(folder, "a.jpg"), svg)).rejects.toThrow("a picture is written as .svg or .png");
  });
});
