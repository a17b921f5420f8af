import type { CompletedCommand, CompletedFlag, CompletionModel } from "./completion-model.ts";
import { functionName, singleQuoted } from "./shell-quoting.ts";

/** A completion script for zsh. */
export function zshCompletion({ program, commands }: CompletionModel): string {
  const name = functionName(program);
  const list = commands.map((command) => `    ${singleQuoted(`${escaped(command.name)}:${command.summary}`)}`);
  return `#compdef ${program}
# zsh completion of ${program}. In a project's folder, after compinit:  source <(npx ${program} completion zsh)
${name}() {
  local -a commands
  commands=(
${list.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="\${words[2]}"
  shift words
  (( CURRENT-- ))
  case "$command" in
${commands.map(commandCase).join("\n")}
  esac
}
compdef ${name} ${program}
`;
}

function commandCase({ name, flags, words }: CompletedCommand): string {
  const positional =
    words === "none" ? [] : [words === "files" ? "*:file:_files" : `*:name:(${words.map(escaped).join(" ")})`];
  const specifications = [...flags.map(specification), ...positional].map((text) => `        ${singleQuoted(text)}`);
  return `    ${name})
      _arguments \\
${specifications.join(" \\\n")}
      ;;`;
}

/** A flag in the notation of \`_arguments\`: \`*--flag[help]:value:(a b)\`. */
function specification({ flag, help, values }: CompletedFlag): string {
  const described = `${flag}[${help.replaceAll(/[[\]\\:]/g, String.raw`\$&`)}]`;
  if (values === "none") return described;
  if (values === "files") return `*${described}:value:_files`;
  return `*${described}:value:(${values.map(escaped).join(" ")})`;
}

function escaped(word: string): string {
  return word.replaceAll(/[:()\\ ]/g, String.raw`\$&`);
}
