import { writeFileSync } from "node:fs";
import { extname } from "node:path";
import { UsageError } from "@fms-accel/framework";

/**
 * Writes an SVG picture, or a PNG of it, by the ending of the file's name.
 *
 * @throws UsageError for another ending
 */
export async function writePicture(file: string, svg: string): Promise<void> {
  const ending = extname(file).toLowerCase();
  if (ending === ".svg") return writeFileSync(file, svg);
  if (ending !== ".png") throw new UsageError(`${file}: a picture is written as .svg or .png.`);
  const { Resvg } = await import("@resvg/resvg-js");
  writeFileSync(file, new Resvg(svg, { fitTo: { mode: "zoom", value: 2 } }).render().asPng());
}
