# Completion of perto for bash. Load it with: source <(perto completion bash)
_perto() {
	local line cur=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	while IFS= read -r line; do
		if [[ $line == :files ]]; then
			compopt -o filenames 2>/dev/null
			while IFS= read -r line; do
				COMPREPLY+=("$line")
			done < <(compgen -f -- "$cur")
			return
		fi
		printf -v line %q "${line%%$'\t'*}" # names may have spaces
		COMPREPLY+=("$line")
	done < <("${1/#\~\//$HOME/}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _perto perto
