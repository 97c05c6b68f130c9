# Completion of perto for fish. Put it into ~/.config/fish/completions/perto.fish
function __perto_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	set -l lines ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
	if test "$lines[1]" = ":files"
		__fish_complete_path "$current"
		return
	end
	string join \n -- $lines
end
complete -c perto -f -a '(__perto_complete)'
