/**
 * `realm completions SHELL`: a script that makes the shell ask realm what may come next.
 *
 * @module
 */
import { command } from "./command.ts";
import { argument, parseChoice } from "./parameters.ts";

const SCRIPTS = {
  bash: `# realm completions; load with: source <(realm completions bash)
_realm() {
  local IFS=$'\\n'
  COMPREPLY=($(realm __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o bashdefault -o default -F _realm realm
`,
  zsh: `#compdef realm
# realm completions; load with: source <(realm completions zsh)
_realm() {
  local -a proposals
  proposals=("\${(@f)$(realm __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null |
    sed 's/:/\\\\:/g; s/\\t/:/')}")
  if [[ -n "$proposals" ]]; then _describe realm proposals; else _files; fi
}
if [[ "\${funcstack[1]-}" == _realm ]]; then _realm "$@"; else compdef _realm realm; fi
`,
  fish: `# realm completions; load with: realm completions fish | source
complete -c realm -a '(realm __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
} as const;

export const completions = command({
  brief: "Print the completion script of a shell",
  args: [argument("bash, zsh or fish", "SHELL", parseChoice("bash", "zsh", "fish"))],
  run(context, _flags, shell) {
    context.print({ shell, script: SCRIPTS[shell] }, () => SCRIPTS[shell]);
  },
});
