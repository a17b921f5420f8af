import type { CompletedCommand, CompletedFlag, CompletionModel } from "./completion-model.ts";

/** A completion script for fish. */
export function fishCompletion({ program, commands }: CompletionModel): string {
  const lines = commands.flatMap((command) => commandLines(program, command));
  return `# fish completion of ${program}. In a project's folder:  npx ${program} completion fish | source
complete -c ${program} -f
${lines.join("\n")}
`;
}

function commandLines(program: string, { name, summary, flags, words }: CompletedCommand): string[] {
  const complete = (condition: string, rest: string): string =>
    `complete -c ${program} -n ${quoted(condition)} ${rest}`;
  const within = `__fish_seen_subcommand_from ${name}`;
  const positional =
    words === "none" ? [] : [complete(within, words === "files" ? "-F" : `-a ${quoted(words.join(" "))}`)];
  return [
    complete("__fish_use_subcommand", `-a ${name} -d ${quoted(summary)}`),
    ...flags.map((flag) => complete(within, flagOptions(flag))),
    ...positional,
  ];
}

function flagOptions({ flag, help, values }: CompletedFlag): string {
  const option = `-l ${flag.slice(2)} -d ${quoted(help)}`;
  if (values === "none") return option;
  if (values === "files") return `${option} -r -F`;
  return `${option} -x${values.length === 0 ? "" : ` -a ${quoted(values.join(" "))}`}`;
}

/** In fish's single quotes only the quote and the backslash are special. */
function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;
}
