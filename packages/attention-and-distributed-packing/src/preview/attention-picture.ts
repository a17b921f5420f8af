/** Fills of the sequences of a row, in turn. */
const FILLS = ["#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02"] as const;
/** Side of one matrix in the picture. */
const SIDE = 360;
const MARGIN = 28;
/** Up to so many tokens every cell of a matrix is drawn. */
const MOST_CELLS = 64;

/**
 * Who attends to whom in one packed row, as functionary draws it: on the left all tokens before a token, whichever sample they are of, on the
 * right those of its own sample only. Rows are queries, columns keys.
 *
 * @param lengths tokens of the row's sequences
 * @returns SVG
 */
export function attentionPicture(lengths: readonly number[]): string {
  const total = lengths.reduce((a, b) => a + b, 0);
  const unit = SIDE / Math.max(1, total);
  const width = 2 * SIDE + 3 * MARGIN;
  const height = SIDE + 2.5 * MARGIN;
  const starts = lengths.map((_, index) => lengths.slice(0, index).reduce((a, b) => a + b, 0));
  const own = lengths.map((length, index) => stairs(starts[index]!, length, unit, FILLS[index % FILLS.length]!));
  const borders = starts
    .slice(1)
    .map(
      (start) =>
        `<path d="M${(start * unit).toFixed(2)} 0V${SIDE}M0 ${(start * unit).toFixed(2)}H${SIDE}" class="border"/>`,
    );
  const panel = (x: number, title: string, content: string): string =>
    `<g transform="translate(${x} ${1.5 * MARGIN})"><text x="${SIDE / 2}" y="-12">${title}</text>` +
    `<rect width="${SIDE}" height="${SIDE}" class="frame"/>${content}${borders.join("")}${grid(total, unit)}</g>`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    "<style>text{font:14px sans-serif;text-anchor:middle;fill:#222}.frame{fill:#f4f4f4;stroke:#222}" +
    ".border{stroke:#222;stroke-width:.75;stroke-dasharray:4 3;fill:none}.grid{stroke:#fff;stroke-width:.5;fill:none}</style>" +
    `<rect width="${width}" height="${height}" fill="#fff"/>` +
    panel(MARGIN, "without borders: tokens see other samples", stairs(0, total, unit, "#9a9a9a")) +
    panel(2 * MARGIN + SIDE, "packed: each sample sees itself", own.join("")) +
    "</svg>\n"
  );
}

/** The lower triangle of a sequence, diagonal included: a step a token, or a slope where steps would not be seen. */
function stairs(start: number, length: number, unit: number, fill: string): string {
  const at = (token: number): string => (token * unit).toFixed(2);
  if (length === 0) return "";
  let path = `M${at(start)} ${at(start)}`;
  if (length <= 4 * MOST_CELLS) {
    for (let token = start; token < start + length; token++) path += `H${at(token + 1)}V${at(token + 1)}`;
  } else path += `L${at(start + length)} ${at(start + length)}`;
  return `<path d="${path}H${at(start)}Z" fill="${fill}"/>`;
}

function grid(total: number, unit: number): string {
  if (total > MOST_CELLS) return "";
  let path = "";
  for (let line = 1; line < total; line++)
    path += `M${(line * unit).toFixed(2)} 0V${SIDE}M0 ${(line * unit).toFixed(2)}H${SIDE}`;
  return `<path d="${path}" class="grid"/>`;
}
