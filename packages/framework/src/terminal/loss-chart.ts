/** One point of a curve: optimiser step and value. */
export interface CurvePoint {
  readonly step: number;
  readonly value: number;
}

const EIGHTHS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/** Averages points into `columns` equal spans of steps; a span without a point repeats the one before it. */
function resample(points: readonly CurvePoint[], columns: number): number[] {
  const first = points[0]?.step ?? 0;
  const last = points.at(-1)?.step ?? first;
  const span = Math.max(1, last - first);
  const sums = Array.from({ length: columns }, () => ({ total: 0, count: 0 }));
  for (const { step, value } of points) {
    const bucket = sums[Math.min(columns - 1, Math.floor(((step - first) / span) * columns))];
    if (bucket === undefined) continue;
    bucket.total += value;
    bucket.count += 1;
  }
  let previous = points[0]?.value ?? 0;
  return sums.map(({ total, count }) => {
    if (count > 0) previous = total / count;
    return previous;
  });
}

/** Whether a curve spans so much that its end would be flat on a linear scale. */
export function wantsLogarithm(points: readonly CurvePoint[]): boolean {
  let lowest = Number.POSITIVE_INFINITY;
  let highest = 0;
  for (const { value } of points) {
    if (!Number.isFinite(value)) continue;
    lowest = Math.min(lowest, value);
    highest = Math.max(highest, value);
  }
  return lowest > 0 && highest > 20 * lowest;
}

/**
 * A filled curve of block characters with its scale at the left and the steps below.
 *
 * @param points in order of their steps; values that are not finite are left out
 * @param width columns of the whole chart, at least 24
 * @param height rows of the curve
 * @param logarithmic the scale; linear scales begin at 0
 * @returns lines without colour; none when there are fewer than two points
 */
export function renderCurve(
  points: readonly CurvePoint[],
  width: number,
  height = 8,
  logarithmic: boolean = wantsLogarithm(points),
): string[] {
  const finite = points.filter(({ value }) => Number.isFinite(value));
  const firstPoint = finite[0];
  const lastPoint = finite.at(-1);
  if (firstPoint === undefined || lastPoint === undefined || finite.length < 2) return [];
  const labelWidth = 8;
  const columns = Math.max(8, Math.min(width - labelWidth - 3, 100));
  const values = resample(finite, Math.min(columns, finite.length)).map(logarithmic ? Math.log : Number);
  const stretched = Array.from(
    { length: columns },
    (_, column) => values[Math.floor((column * values.length) / columns)] ?? 0,
  );
  const highest = Math.max(...stretched);
  const lowest = logarithmic ? Math.min(...stretched) : Math.min(...stretched, 0);
  const steps = height * EIGHTHS.length - 1;
  const unit = Math.max(highest - lowest, Number.EPSILON) / steps;
  const levels = stretched.map((value) => 1 + Math.round((value - lowest) / unit));
  const lines = Array.from({ length: height }, (_, row) => {
    const base = (height - 1 - row) * EIGHTHS.length;
    const bar = levels.map((level) => (level <= base ? " " : (EIGHTHS[Math.min(7, level - base - 1)] ?? " "))).join("");
    // The label is the value at the row's upper edge; in the last row, at its lower one.
    const labelled = row === height - 1 ? lowest : lowest + (base + EIGHTHS.length - 1) * unit;
    const shown = row === 0 || row === height - 1 || row === Math.floor(height / 2);
    const label = shown ? (logarithmic ? Math.exp(labelled) : labelled).toPrecision(3) : "";
    return `${label.padStart(labelWidth)} ┤${bar}`.trimEnd();
  });
  const from = `step ${firstPoint.step}`;
  const to = String(lastPoint.step);
  lines.push(`${" ".repeat(labelWidth)} └${"─".repeat(columns)}`);
  lines.push(`${" ".repeat(labelWidth + 2)}${from}${to.padStart(Math.max(1, columns - from.length))}`);
  return lines;
}
