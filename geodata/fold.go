package geodata

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fold returns the canonical form of a name, so that its spellings compare equal. The
// form is lower case, without accents, hyphens and apostrophes, and with "St." written
// out. For example, "São Paulo" and "sao paulo" fold to the same text, and so do
// "Saint-Denis" and "St. Denis".
func fold(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if !ascii {
		name = norm.NFD.String(name)
	}
	for _, r := range name {
		switch {
		case r < 0x80 && (r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9'):
			if r >= 'A' && r <= 'Z' {
				r |= 0x20
			}
			b.WriteRune(r)
		case r == '\'' || r == '.' || r == '’' || r == '‘' || r == 'ʻ' || r == 'ʼ' || r == '`':
			// dropped: "Xi'an" is "Xian", "Washington, D.C." is "washington dc"
		case r < 0x80:
			b.WriteByte(' ')
		case unicode.Is(unicode.Mn, r):
			// the accent of the preceding letter
		case r == 'ß':
			b.WriteString("ss")
		case r == 'æ' || r == 'Æ':
			b.WriteString("ae")
		case r == 'œ' || r == 'Œ':
			b.WriteString("oe")
		case r == 'ø' || r == 'Ø':
			b.WriteByte('o')
		case r == 'ł' || r == 'Ł':
			b.WriteByte('l')
		case r == 'đ' || r == 'Đ' || r == 'ð' || r == 'Ð':
			b.WriteByte('d')
		case r == 'þ' || r == 'Þ':
			b.WriteString("th")
		case r == 'ı':
			b.WriteByte('i')
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteByte(' ')
		}
	}
	folded := b.String()
	if !strings.Contains(folded, "st") && !strings.Contains(folded, "  ") && !strings.HasPrefix(folded, " ") && !strings.HasSuffix(folded, " ") {
		return folded // most names
	}
	words := strings.Fields(folded)
	for i, w := range words {
		if w == "st" {
			words[i] = "saint"
		}
	}
	return strings.Join(words, " ")
}

// distance returns the number of insertions, deletions, replacements and swaps of
// neighbours between two strings (optimal string alignment). It returns limit+1 when
// the distance is more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			cur[j] = d
			least = min(least, d)
		}
		if least > limit {
			return limit + 1
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit+1)
}
