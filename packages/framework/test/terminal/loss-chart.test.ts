import { describe, expect, it } from "vitest";
import { renderCurve } from "../../src/terminal/loss-chart.ts";

const falling = Array.from({ length: 50 }, (_, index) => ({ step: index + 1, value: 5 * Math.exp(-index / 10) }));

describe("renderCurve", () => {
  it("falls from the upper left to the lower right", () => {
    const lines = renderCurve(falling, 60, 6);
    expect(lines).toHaveLength(8);
    const filled = lines.slice(0, 6).map((line) => line.replace(/^.*┤/, "").length);
    expect(filled).toEqual([...filled].sort((a, b) => a - b));
    expect(filled[0]).toBeLessThan(12);
    expect(filled[5]).toBeGreaterThan(35);
    expect(lines[0]).toContain("4.76");
    expect(lines.at(-1)).toMatch(/step 1 +50$/);
  });

  it("keeps within its width", () => {
    for (const width of [24, 40, 80, 200]) {
      for (const line of renderCurve(falling, width)) expect(line.length).toBeLessThanOrEqual(width);
    }
  });

  it("is empty without two finite points, and leaves out what is not finite", () => {
    expect(renderCurve([], 80)).toEqual([]);
    expect(
      renderCurve(
        [
          { step: 1, value: 2 },
          { step: 2, value: Number.NaN },
        ],
        80,
      ),
    ).toEqual([]);
    expect(renderCurve([...falling, { step: 51, value: Number.POSITIVE_INFINITY }], 80)).toEqual(
      renderCurve(falling, 80),
    );
  });

  it("draws a constant curve", () => {
    const flat = [1, 2, 3].map((step) => ({ step, value: 0 }));
    expect(renderCurve(flat, 40).join("")).not.toContain("NaN");
  });
});
