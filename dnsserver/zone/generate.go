package zone

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// maxGenerate is how many records one $GENERATE may make.
const maxGenerate = 1 << 16

// generate makes the records of BIND's $GENERATE directive. It has a range and a record
// in which $ stands for the number.
func (m *master) generate(e *entry) ([]dns.RR, error) {
	if len(e.fields) < 5 {
		return nil, errors.New("$GENERATE takes a range, an owner, a type and data, such as $GENERATE 1-9 host$ A 192.0.2.$")
	}
	start, stop, step, err := parseRange(e.fields[1])
	if err != nil {
		return nil, fmt.Errorf("$GENERATE: %w", err)
	}
	var out []dns.RR
	for i := start; i <= stop; i += step {
		one := entry{fields: make([]string, len(e.fields)-2)}
		for f, text := range e.fields[2:] {
			if one.fields[f], err = expand(text, i); err != nil {
				return nil, fmt.Errorf("$GENERATE: %w", err)
			}
		}
		if strings.HasPrefix(one.fields[0], "$") {
			return nil, errors.New("$GENERATE makes records only, no directives")
		}
		rrs, err := m.entry(&one)
		if err != nil {
			return nil, fmt.Errorf("$GENERATE, number %d: %w", i, err)
		}
		out = append(out, rrs...)
	}
	return out, nil
}

// parseRange reads "START-STOP" or "START-STOP/STEP".
func parseRange(s string) (start, stop, step int, err error) {
	text, stepText, hasStep := strings.Cut(s, "/")
	startText, stopText, ok := strings.Cut(text, "-")
	number := func(s string) int {
		n, failed := strconv.ParseUint(s, 10, 31)
		ok = ok && failed == nil
		return int(n)
	}
	start, stop, step = number(startText), number(stopText), 1
	if hasStep {
		step = number(stepText)
	}
	if !ok || step == 0 || stop < start {
		return 0, 0, 0, fmt.Errorf("%q is no range; it takes START-STOP or START-STOP/STEP", s)
	}
	if (stop-start)/step >= maxGenerate {
		return 0, 0, 0, fmt.Errorf("the range %s makes more than %d records", s, maxGenerate)
	}
	return start, stop, step, nil
}

// expand replaces $ and ${OFFSET,WIDTH,BASE} by a number. $$ and \$ are a dollar sign.
func expand(s string, n int) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			if s[i+1] != '$' {
				out.WriteByte('\\')
			}
			i++
			out.WriteByte(s[i])
		case s[i] != '$':
			out.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "$$"):
			i++
			out.WriteByte('$')
		case strings.HasPrefix(s[i:], "${"):
			inner, _, ok := strings.Cut(s[i+2:], "}")
			if !ok {
				return "", fmt.Errorf("%q has no closing brace", s)
			}
			text, err := format(inner, n)
			if err != nil {
				return "", err
			}
			out.WriteString(text)
			i += len(inner) + 2
		default:
			out.WriteString(strconv.Itoa(n))
		}
	}
	return out.String(), nil
}

// maxWidth is the most digits of a generated number: a label has 63 bytes.
const maxWidth = 63

// format writes a number by "OFFSET", "OFFSET,WIDTH" or "OFFSET,WIDTH,BASE".
func format(spec string, n int) (string, error) {
	parts := strings.Split(spec, ",")
	offset, err := strconv.ParseInt(parts[0], 10, 32)
	width := uint64(0)
	if err == nil && len(parts) > 1 {
		width, err = strconv.ParseUint(parts[1], 10, 8)
	}
	base := "d"
	if len(parts) > 2 {
		base = parts[2]
	}
	n += int(offset)
	if err != nil || len(parts) > 3 || width > maxWidth || n < 0 || len(base) != 1 {
		return "", fmt.Errorf("${%s} is not valid; it takes an offset, a width up to %d and one of d, o, x, X, n, N", spec, maxWidth)
	}
	switch base {
	case "d", "o", "x", "X":
		return fmt.Sprintf("%0*"+base, int(width), n), nil
	case "n", "N":
		digits := map[string]string{"n": "0123456789abcdef", "N": "0123456789ABCDEF"}[base]
		return nibbles(n, int(width), digits), nil
	}
	return "", fmt.Errorf("${%s}: the base %s is unknown; known are d, o, x, X, n and N", spec, base)
}

// nibbles writes a number in the form of ip6.arpa names: hexadecimal digits from the
// lowest, with dots. The width includes the dots, as in BIND.
func nibbles(n, width int, digits string) string {
	var out []byte
	for {
		out = append(out, digits[n&15])
		n >>= 4
		if n == 0 && len(out) >= width {
			return string(out)
		}
		out = append(out, '.')
	}
}
