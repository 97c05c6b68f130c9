#compdef perto
# Completion of perto for zsh. Load it after compinit with: source <(perto completion zsh)
_perto() {
	local line
	local -a candidates
	for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -z $line ]] && continue
		if [[ $line == :files ]]; then
			_files
			return
		fi
		candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done
	_describe -t perto 'perto' candidates
}
compdef _perto perto
