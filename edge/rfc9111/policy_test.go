package rfc9111

import (
	"fmt"
	"testing"
	"time"

	"perto/internal/fields"
)

// now is the time at which the replies of these tests come.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func httpDate(d time.Duration) string { return now.Add(d).Format("Mon, 02 Jan 2006 15:04:05 GMT") }

func reply(status int, pairs ...string) Reply {
	return Reply{Status: status, Header: fields.Of(pairs...), RequestTime: now, ReplyTime: now}
}

func TestSection3_StorableReplies(t *testing.T) {
	get := Request{Method: "GET"}
	auth := Request{Method: "GET", Header: fields.Of("Authorization", "Basic x")}
	for _, tc := range []struct {
		name string
		q    Request
		s    Reply
		want Reason
	}{
		{"3: explicit freshness", get, reply(200, "Cache-Control", "max-age=60"), Storable},
		{"3: only GET", Request{Method: "POST"}, reply(200, "Cache-Control", "max-age=60"), NotGET},
		{"3: final", get, reply(103, "Cache-Control", "max-age=60"), NotFinal},
		{"3.3: incomplete", get, reply(206, "Cache-Control", "max-age=60"), PartialReply},
		{"3: any status with explicit freshness", get, reply(599, "Cache-Control", "max-age=60"), Storable},
		{"3: status without heuristic", get, reply(403, "ETag", `"a"`), NoFreshness},
		{"3: Expires", get, reply(200, "Expires", httpDate(time.Minute)), Storable},
		{"3: nothing says", get, reply(200), NoFreshness},
		{"3: validator alone", get, reply(200, "ETag", `"a"`), Storable},
		{"3.5: Authorization", auth, reply(200, "Cache-Control", "max-age=60"), Authorized},
		{"3.5: Authorization, public", auth, reply(200, "Cache-Control", "max-age=60, public"), Storable},
		{"3.5: Authorization, must-revalidate", auth, reply(200, "Cache-Control", "max-age=60, must-revalidate"), Storable},
		{"3.5: Authorization, s-maxage", auth, reply(200, "Cache-Control", "s-maxage=60"), Storable},
		{"4.1: Vary *", get, reply(200, "Cache-Control", "max-age=60", "Vary", "Accept, *"), VariesOnAll},
		{"4.1: Vary by the client's address", get, reply(200, "Cache-Control", "max-age=60", "Vary", "Accept, X-FORWARDED-FOR"), VariesOnClient},
		{"4.1: Vary by Forwarded", get, reply(200, "Cache-Control", "max-age=60", "Vary", "Forwarded"), VariesOnClient},
		{"5.2.1.5: request no-store", Request{Method: "GET", Header: fields.Of("Cache-Control", "no-store")}, reply(200, "Cache-Control", "max-age=60"), RequestNoStore},
		{"5.2.2.3: must-understand, unknown status", get, reply(599, "Cache-Control", "max-age=60, no-store, must-understand"), NotUnderstood},
		{"5.2.2.3: must-understand, known status", get, reply(200, "Cache-Control", "max-age=60, no-store, must-understand"), Storable},
		{"5.2.2.4: no-cache is stored", get, reply(200, "Cache-Control", "no-cache", "ETag", `"a"`), Storable},
		{"5.2.2.5: no-store", get, reply(200, "Cache-Control", "max-age=60, No-Store"), ReplyNoStore},
		{"5.2.2.7: private", get, reply(200, "Cache-Control", "private, max-age=60"), ReplyPrivate},
		{"5.2.2.7: private fields", get, reply(200, "Cache-Control", `private="X-User", max-age=60`), Storable},
		{"7.3: Set-Cookie", get, reply(200, "Cache-Control", "max-age=60", "Set-Cookie", "a=b"), SetsCookie},
		{"7.3: Set-Cookie, public", get, reply(200, "Cache-Control", "public, max-age=60", "Set-Cookie", "a=b"), SetsCookie},
		{"7.3: Set-Cookie, s-maxage", get, reply(200, "Cache-Control", "s-maxage=60", "Set-Cookie", "a=b"), SetsCookie},
		{"7.3: Set-Cookie, targeted", get, reply(200, "CDN-Cache-Control", "public, max-age=60", "Set-Cookie", "a=b"), SetsCookie},
		{"7.3: Set-Cookie2", get, reply(200, "Cache-Control", "public, max-age=60", "SET-COOKIE2", "a=b"), SetsCookie},
		{"7.3: Set-Cookie that must-understand covers", get, reply(200, "Cache-Control", "no-store, must-understand, max-age=60", "Set-Cookie", "a=b"), SetsCookie},
		{"5.2.2.4: Set-Cookie withheld", get, reply(200, "Cache-Control", `max-age=60, no-cache="Set-Cookie"`, "Set-Cookie", "a=b"), Storable},
		{"5.2.2.7: Set-Cookie private", get, reply(200, "Cache-Control", `max-age=60, private="set-cookie, x"`, "Set-Cookie", "a=b"), Storable},
		{"5.2.2.4: another field withheld", get, reply(200, "Cache-Control", `max-age=60, no-cache="X"`, "Set-Cookie", "a=b"), SetsCookie},
		{"7615: Authentication-Info", get, reply(200, "Cache-Control", "public, max-age=60", "Authentication-Info", "nextnonce=1"), Authenticates},
		{"9110 11.6.1: Basic and Bearer", get, reply(401, "Cache-Control", "max-age=60", "WWW-Authenticate", `Basic realm="a, b", charset="UTF-8", Bearer`), Storable},
		{"9110 11.6.1: Digest", get, reply(401, "Cache-Control", "max-age=60", "WWW-Authenticate", `Basic realm=x, Digest nonce="1"`), Authenticates},
		{"4559: Negotiate", get, reply(401, "Cache-Control", "public, max-age=60", "WWW-Authenticate", "Negotiate oYG2"), Authenticates},
		{"3.5: denied credentials", Request{Method: "GET", Header: fields.Of("Authorization", "Basic eDp5")}, reply(403, "Cache-Control", "public, max-age=60"), Authorized},
		{"9213: max-age over no-store", get, reply(200, "Cache-Control", "no-store", "CDN-Cache-Control", "max-age=60"), Storable},
		{"9213: no-store over max-age", get, reply(200, "Cache-Control", "max-age=60", "CDN-Cache-Control", "no-store"), ReplyNoStore},
		{"9213: private", get, reply(200, "Cache-Control", "max-age=60", "CDN-Cache-Control", "private"), ReplyPrivate},
		{"9213: malformed is ignored", get, reply(200, "Cache-Control", "no-store", "CDN-Cache-Control", "max-age=60, &&&"), ReplyNoStore},
		{"9213: wrong type is ignored", get, reply(200, "Cache-Control", "no-store", "CDN-Cache-Control", `max-age="60"`), ReplyNoStore},
		{"5861: stale for error is use enough", get, reply(200, "Cache-Control", "max-age=0, stale-if-error=60"), Storable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, got := Decide(tc.q, tc.s); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSection4_2_1_FreshnessLifetime(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    Reply
		want time.Duration
	}{
		{"s-maxage before max-age", reply(200, "Cache-Control", "max-age=60, s-maxage=5"), 5 * time.Second},
		{"max-age before Expires", reply(200, "Cache-Control", "max-age=60", "Expires", httpDate(time.Hour)), time.Minute},
		{"Expires less Date", reply(200, "Expires", httpDate(time.Hour), "Date", httpDate(-time.Minute)), 61 * time.Minute},
		{"Expires without Date", reply(200, "Expires", httpDate(time.Hour)), time.Hour},
		{"Expires in the past", reply(200, "Expires", httpDate(-time.Hour)), 0},
		{"Expires: 0", reply(200, "Expires", "0", "Last-Modified", httpDate(-time.Hour)), 0},
		{"first of two", reply(200, "Cache-Control", "max-age=60, max-age=5"), time.Minute},
		{"over lines", reply(200, "Cache-Control", "public", "Cache-Control", "max-age=60"), time.Minute},
		{"unreadable is stale", reply(200, "Cache-Control", "max-age=6o", "Last-Modified", httpDate(-time.Hour)), 0},
		{"single quotes", reply(200, "Cache-Control", "max-age='60'"), 0},
		{"quoted form", reply(200, "Cache-Control", `max-age="60"`), time.Minute},
		{"leading zeros", reply(200, "Cache-Control", "max-age=0060"), time.Minute},
		{"within another's string", reply(200, "Cache-Control", `x="max-age=60, max-age=70", max-age=5`), 5 * time.Second},
		{"beyond 2^31", reply(200, "Cache-Control", "max-age=99999999999999999999"), maxDelta},
		{"4.2.2: 10 % since Last-Modified", reply(200, "Last-Modified", httpDate(-10*time.Hour), "Date", httpDate(0)), time.Hour},
		{"4.2.2: at most a day", reply(200, "Last-Modified", httpDate(-10000*time.Hour)), heuristicMost},
		{"4.2.2: not for every status", reply(403, "Last-Modified", httpDate(-10*time.Hour)), 0},
		{"4.2.2: public makes it so", reply(599, "Last-Modified", httpDate(-10*time.Hour), "Cache-Control", "public"), time.Hour},
		{"9213: over both", reply(200, "Cache-Control", "max-age=1", "Expires", httpDate(-time.Hour), "CDN-Cache-Control", "max-age=60"), time.Minute},
		{"9213: Expires does not count", reply(200, "Expires", httpDate(time.Hour), "CDN-Cache-Control", "foo"), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if p, _ := Decide(Request{Method: "GET"}, tc.s); p.Lifetime != tc.want {
				t.Errorf("got %v, want %v", p.Lifetime, tc.want)
			}
		})
	}
}

func TestSection4_2_3_Age(t *testing.T) {
	for _, tc := range []struct {
		name  string
		pairs []string
		delay time.Duration
		want  time.Duration
	}{
		{"none", nil, 0, 0},
		{"apparent", []string{"Date", httpDate(-5 * time.Second)}, 0, 5 * time.Second},
		{"Date ahead of us", []string{"Date", httpDate(time.Hour)}, 0, 0},
		{"value", []string{"Age", "30", "Date", httpDate(0)}, 0, 30 * time.Second},
		{"value and delay", []string{"Age", "30"}, 2 * time.Second, 32 * time.Second},
		{"the greater of both", []string{"Age", "30", "Date", httpDate(-time.Minute)}, 0, time.Minute},
		{"first of a list", []string{"Age", "7200, 0"}, 0, 2 * time.Hour},
		{"first line", []string{"Age", "0", "Age", "7200"}, 0, 0},
		{"no number", []string{"Age", "abc"}, 0, 0},
		{"negative", []string{"Age", "-5"}, 0, 0},
		{"decimal", []string{"Age", "5.0"}, 0, 0},
		{"huge", []string{"Age", "2147483649"}, 0, maxDelta},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := reply(200, tc.pairs...)
			s.RequestTime = now.Add(-tc.delay)
			p, _ := Decide(Request{Method: "GET"}, s)
			if p.InitialAge != tc.want {
				t.Errorf("got %v, want %v", p.InitialAge, tc.want)
			}
			if got := p.Age(now.Add(time.Minute)); got != min(tc.want+time.Minute, maxDelta+time.Minute) {
				t.Errorf("a minute later: %v", got)
			}
		})
	}
}

func TestSection4_2_4_StaleReplies(t *testing.T) {
	for _, tc := range []struct {
		cc    string
		after time.Duration
		want  Verdict
	}{
		{"max-age=60", 59 * time.Second, Fresh},
		{"max-age=60", 60 * time.Second, StaleForError},
		{"max-age=60", 48 * time.Hour, MustValidate},
		{"max-age=60, must-revalidate", time.Minute, MustValidate},
		{"max-age=60, proxy-revalidate", time.Minute, MustValidate},
		{"s-maxage=60", time.Minute, MustValidate},
		{"s-maxage=60, stale-while-revalidate=30", 70 * time.Second, Revalidating},
		{"s-maxage=60, stale-if-error=30", 70 * time.Second, StaleForError},
		{"no-cache, max-age=60", time.Second, MustValidate},
		{"max-age=60, stale-while-revalidate=30", 89 * time.Second, Revalidating},
		{"max-age=60, stale-while-revalidate=30", 91 * time.Second, StaleForError},
		{"max-age=60, stale-if-error=30", 89 * time.Second, StaleForError},
		{"max-age=60, stale-if-error=30", 91 * time.Second, MustValidate},
		{"max-age=60, stale-while-revalidate=30, must-revalidate", 70 * time.Second, MustValidate},
	} {
		t.Run(fmt.Sprintf("%s after %v", tc.cc, tc.after), func(t *testing.T) {
			p, _ := Decide(Request{Method: "GET"}, reply(200, "Cache-Control", tc.cc))
			if got := p.Evaluate(now.Add(tc.after)); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestSection5_2_1_RequestDirectives(t *testing.T) {
	for _, tc := range []struct {
		reply, request string
		after          time.Duration
		want           Verdict
	}{
		{"max-age=60", "no-cache", time.Second, StaleForError},
		{"max-age=60", "max-age=0", time.Second, StaleForError},
		{"max-age=60", "max-age=10", 5 * time.Second, Fresh},
		{"max-age=60", "min-fresh=30", 40 * time.Second, StaleForError},
		{"max-age=60", "min-fresh=30", 10 * time.Second, Fresh},
		{"max-age=60", "max-stale=30", 80 * time.Second, Fresh},
		{"max-age=60", "max-stale", 80 * time.Second, Fresh},
		{"max-age=60", "max-stale=30", 95 * time.Second, StaleForError},
		{"max-age=60, must-revalidate", "max-stale=30", 80 * time.Second, MustValidate},
		{"max-age=60", "only-if-cached", 10 * time.Second, Fresh},
	} {
		t.Run(tc.reply+" / "+tc.request, func(t *testing.T) {
			p, _ := Decide(Request{Method: "GET"}, reply(200, "Cache-Control", tc.reply))
			d := ParseDirectives(fields.Of("Cache-Control", tc.request))
			if got := p.EvaluateFor(now.Add(tc.after), &d); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestRFC9110_5_6_7_Dates(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{"Sun, 06 Nov 1994 08:49:37 GMT", true},
		{"SUN, 06 NOV 1994 08:49:37 gmt", true},
		{"Sunday, 06-Nov-94 08:49:37 GMT", true},
		{"Sun Nov  6 08:49:37 1994", true},
		{"Sun, 06 Nov 1994 08:49:37 UTC", false},
		{"Sun, 06 Nov 94 08:49:37 GMT", false},
		{"Sun 06 Nov 1994 08:49:37 GMT", false},
		{"Sun, 06  Nov  1994 08:49:37 GMT", false},
		{"Sun, 06-Nov-1994 08:49:37 GMT", false},
		{"Sun, 06 Nov 1994 08.49.37 GMT", false},
		{"Sun, 06 Nov 1994 8:49:37 GMT", false},
		{"Xxx, 06 Nov 1994 08:49:37 GMT", false},
		{"Sun, 32 Nov 1994 08:49:37 GMT", false},
		{"0", false}, {"", false}, {"-1", false},
	} {
		got, ok := ParseDate([]byte(tc.in), now)
		if ok != tc.ok || ok && !got.Equal(want) {
			t.Errorf("%q: got %v, %v; want %v", tc.in, got, ok, tc.ok)
		}
	}
	if got, ok := ParseDate([]byte("Thursday, 18-Aug-50 02:01:18 GMT"), now); !ok || got.Year() != 2050 {
		t.Errorf("two-digit year: %v", got)
	}
}

func TestRFC9213_StructuredField(t *testing.T) {
	for _, tc := range []struct {
		in   string
		ok   bool
		want Directives
	}{
		{"max-age=60", true, Directives{Flags: MaxAge, MaxAge: time.Minute}},
		{"max-age=60;x=1, foo=(a \"b\");c, public", true, Directives{Flags: MaxAge | Public, MaxAge: time.Minute}},
		{"max-age=1, max-age=60", true, Directives{Flags: MaxAge, MaxAge: time.Minute}},
		{"no-store=?0, max-age=60", true, Directives{Flags: MaxAge, MaxAge: time.Minute}},
		{"x=1.5, y=:YQ==:, z=@5, w=a/b, v=-3", true, Directives{}},
		{`x=%"f%c3%bc", max-age=60`, true, Directives{Flags: MaxAge, MaxAge: time.Minute}}, // a display string
		{"max-age=60, private=(a b)", false, Directives{}},
		{"", false, Directives{}},
		{"max-age=60,", false, Directives{}},
		{"max-age =60", false, Directives{}},
		{"max-age= 60", false, Directives{}},
		{"MaX-aGe=60", false, Directives{}},
		{"max-age=60 public", false, Directives{}},
		{"max-age=-1", false, Directives{}},
		{"max-age=?1", false, Directives{}},
		{"no-store=5", false, Directives{}},
		{"a=1.2345", false, Directives{}},
		{"a=1234567890123456", false, Directives{}},
		{`a="x`, false, Directives{}},
		{"a=(b", false, Directives{}},
	} {
		got, ok := ParseTargeted(fields.Of("CDN-Cache-Control", tc.in))
		if ok != tc.ok || got.Flags != tc.want.Flags || got.MaxAge != tc.want.MaxAge {
			t.Errorf("%q: got %+v, %v; want %+v, %v", tc.in, got, ok, tc.want, tc.ok)
		}
	}
}

func TestEvaluateAllocatesNothing(t *testing.T) {
	p, _ := Decide(Request{Method: "GET"}, reply(200, "Cache-Control", "max-age=60"))
	if n := testing.AllocsPerRun(100, func() { p.Evaluate(now); p.Age(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCacheControl(f *testing.F) {
	f.Add([]byte(`max-age=60, no-cache="a, b", x="\"", s-maxage=1`))
	f.Add([]byte("private, max-stale, max-age=99999999999999999999999"))
	f.Fuzz(func(t *testing.T, v []byte) {
		h := fields.Header{{Name: []byte("Cache-Control"), Value: v}, {Name: []byte("CDN-Cache-Control"), Value: v}}
		d := ParseDirectives(h)
		ParseTargeted(h)
		for _, x := range []time.Duration{d.MaxAge, d.SMaxAge, d.MaxStale, d.StaleIfError} {
			if x < 0 || x > maxDelta {
				t.Fatalf("%q gives %v", v, x)
			}
		}
		Decide(Request{Method: "GET", Header: h}, Reply{Status: 200, Header: h, ReplyTime: now, RequestTime: now})
	})
}

func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, v string) {
		if got, ok := ParseDate([]byte(v), now); ok && (got.Year() < 0 || got.Year() > 10000) {
			t.Fatalf("%q gives %v", v, got)
		}
	})
}
