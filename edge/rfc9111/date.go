package rfc9111

import "time"

// ParseDate reads an HTTP date in the three forms of RFC 9110, section 5.6.7:
// IMF-fixdate, RFC 850 and asctime. Names of days, months and GMT may have any letter
// case. All other parts must be exact. A date with a two-digit year that would be more
// than 50 years after now is in the past, as the RFC requires.
func ParseDate(v []byte, now time.Time) (time.Time, bool) {
	s := string(v)
	switch {
	case len(s) == len("Sun, 06 Nov 1994 08:49:37 GMT") && s[3] == ',':
		return date(s[0:3], shortDays[:], s[4:5], s[5:7], s[7:8], s[8:11], s[11:12], s[12:16], s[16:17], s[17:25], s[25:])
	case len(s) == len("Sun Nov  6 08:49:37 1994") && s[3] == ' ':
		day := s[8:10]
		if day[0] == ' ' {
			day = "0" + day[1:]
		}
		return date(s[0:3], shortDays[:], s[3:4], day, s[7:8], s[4:7], s[10:11], s[20:24], s[19:20], s[11:19], " GMT")
	}
	comma := 0
	for comma < len(s) && s[comma] != ',' {
		comma++
	}
	rest := s[comma:]
	if len(rest) != len(", 06-Nov-94 08:49:37 GMT") || rest[4] != '-' || rest[8] != '-' {
		return time.Time{}, false
	}
	century := "20"
	t, ok := date(s[:comma], longDays[:], rest[1:2], rest[2:4], " ", rest[5:8], " ", century+rest[9:11], rest[11:12], rest[12:20], rest[20:])
	if ok && t.After(now.AddDate(50, 0, 0)) {
		t = t.AddDate(-100, 0, 0)
	}
	return t, ok
}

var (
	shortDays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	longDays  = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	months    = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
)

// date makes a time from the parts of a date. sp1 to sp4 must be one space each, clock
// has the form "08:49:37" and zone is " GMT". weekday must be the name of a day, but
// not that of the date.
func date(weekday string, days []string, sp1, day, sp2, month, sp3, year, sp4, clock, zone string) (time.Time, bool) {
	if sp1 != " " || sp2 != " " || sp3 != " " || sp4 != " " || clock[2] != ':' || clock[5] != ':' ||
		indexFold(days, weekday) < 0 || len(zone) != 4 || zone[0] != ' ' || indexFold([]string{"gmt"}, zone[1:]) < 0 {
		return time.Time{}, false
	}
	m := indexFold(months[:], month)
	y, d := number(year), number(day)
	h, min, sec := number(clock[0:2]), number(clock[3:5]), number(clock[6:8])
	if m < 0 || y < 0 || d < 1 || d > 31 || h < 0 || h > 23 || min < 0 || min > 59 || sec < 0 || sec > 60 {
		return time.Time{}, false
	}
	return time.Date(y, time.Month(m+1), d, h, min, sec, 0, time.UTC), true
}

func indexFold(lower []string, s string) int {
	for i, name := range lower {
		if len(name) != len(s) {
			continue
		}
		same := true
		for j := range len(s) {
			c := s[j]
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			same = same && c == name[j]
		}
		if same {
			return i
		}
	}
	return -1
}

// number reads decimal digits, or returns -1.
func number(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}
