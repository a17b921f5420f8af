/** A word in single quotes, for bash and zsh. */
export function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** The name of a program's completion function: letters, digits and underscores only. */
export function functionName(program: string): string {
  return `_${program.replaceAll(/\W/g, "_")}`;
}
