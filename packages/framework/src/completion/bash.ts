import type { CompletedCommand, CompletedFlag, CompletionModel } from "./completion-model.ts";
import { functionName, singleQuoted } from "./shell-quoting.ts";

/** A completion script for bash 3.2 and newer (macOS has no newer one): no associative arrays. */
export function bashCompletion({ program, commands }: CompletionModel): string {
  const name = functionName(program);
  const names = commands.map((command) => command.name).join(" ");
  return `# bash completion of ${program}. In a project's folder:  source <(npx ${program} completion bash)
${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}" words="" files=""
  COMPREPLY=()
  # An equals sign is a word of its own: --flag = value.
  [[ "$current" == "=" ]] && current=""
  [[ "$previous" == "=" ]] && previous="\${COMP_WORDS[COMP_CWORD-2]}"
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W ${singleQuoted(`${names} --help --version`)} -- "$current"))
    return
  fi
  case "$command" in
${commands.map(commandCase).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ -n "$files" ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$current"))
  fi
}
complete -F ${name} ${program}
`;
}

function commandCase({ name, flags, words }: CompletedCommand): string {
  const all = flags.map(({ flag }) => flag).join(" ");
  const positional = words === "files" ? " files=1" : words === "none" ? "" : ` words=${singleQuoted(words.join(" "))}`;
  return `    ${name})
      if [[ "$current" == -* ]]; then
        words=${singleQuoted(all)}
      else
        case "$previous" in
${valueCases(flags)}
          *)${positional} ;;
        esac
      fi
      ;;`;
}

/** Flags with the same values share a case. */
function valueCases(flags: readonly CompletedFlag[]): string {
  const cases = new Map<string, string[]>();
  for (const { flag, values } of flags) {
    if (values === "none") continue;
    const offer = values === "files" ? "files=1" : `words=${singleQuoted(values.join(" "))}`;
    cases.set(offer, [...(cases.get(offer) ?? []), flag]);
  }
  return [...cases].map(([offer, names]) => `          ${names.join("|")}) ${offer} ;;`).join("\n");
}
