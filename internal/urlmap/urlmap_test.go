package urlmap

import "testing"

// atEdge maps the URLs of a development server, which the edge asks with its own host.
var atEdge = Map{
	Own:    []Server{{"http", "localhost:3000"}, {"http", "origin.shop.example"}},
	Client: Server{"http", "www.shop.example"},
	Target: "/login?next=1",
}

func TestURL(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"own name and port", "http://localhost:3000/me", "http://www.shop.example/me"},
		{"query and fragment", "http://localhost:3000/a/b?c=d&e#f", "http://www.shop.example/a/b?c=d&e#f"},
		{"no path", "http://localhost:3000", "http://www.shop.example"},
		{"query without path", "http://localhost:3000?x", "http://www.shop.example?x"},
		{"two slashes in the path", "http://localhost:3000//other.example/", "http://www.shop.example//other.example/"},
		{"name of the origin's URL", "http://origin.shop.example/me", "http://www.shop.example/me"},
		{"name with the port of the Host", "http://origin.shop.example:3000/me", "http://www.shop.example/me"},
		{"upper case", "HTTP://LocalHost:3000/Me", "http://www.shop.example/Me"},
		{"final dot", "http://origin.shop.example./me", "http://www.shop.example/me"},
		{"default port", "http://origin.shop.example:80/me", "http://www.shop.example/me"},
		{"empty port", "http://origin.shop.example:/me", "http://www.shop.example/me"},
		{"zeros in the port", "http://localhost:03000/me", "http://www.shop.example/me"},
		{"IPv4 address of the same machine", "http://127.0.0.1:3000/me", "http://www.shop.example/me"},
		{"IPv6 address of the same machine", "http://[::1]:3000/me", "http://www.shop.example/me"},
		{"long IPv6 form", "http://[0:0:0:0:0:0:0:1]:3000/me", "http://www.shop.example/me"},
		{"unspecified address", "http://0.0.0.0:3000/me", "http://www.shop.example/me"},
		{"userinfo", "http://user:pass@localhost:3000/me", "http://user:pass@www.shop.example/me"},
		{"https of the server", "https://localhost:3000/me", "http://www.shop.example/me"},
		{"https with its usual port", "https://origin.shop.example/me", "http://www.shop.example/me"},
		{"protocol-relative", "//localhost:3000/me", "//www.shop.example/me"},
		{"https of the same target", "https://localhost:3000/login?next=1", "https://www.shop.example/login?next=1"},
		{"https of the same target with a fragment", "https://origin.shop.example/login?next=1#top", "https://www.shop.example/login?next=1#top"},
		{"protocol-relative with the same target", "//localhost:3000/login?next=1", "//www.shop.example/login?next=1"},
		{"another name of the server, same target", "http://origin.shop.example/login?next=1", "http://origin.shop.example/login?next=1"},
		{"same target", "http://localhost:3000/login?next=1", "http://www.shop.example/login?next=1"},

		{"path only", "/me", "/me"},
		{"relative", "me?x=http://localhost:3000/", "me?x=http://localhost:3000/"},
		{"empty", "", ""},
		{"the client's host", "http://www.shop.example/me", "http://www.shop.example/me"},
		{"https of the client's host", "https://www.shop.example/me", "https://www.shop.example/me"},
		{"another host", "http://other.example:3000/me", "http://other.example:3000/me"},
		{"another host after userinfo", "http://localhost:3000@other.example/me", "http://localhost:3000@other.example/me"},
		{"another host after a backslash", `http://other.example\@localhost:3000/me`, `http://other.example\@localhost:3000/me`},
		{"another port", "http://localhost:4000/me", "http://localhost:4000/me"},
		{"a longer host", "http://localhost:3000.other.example/", "http://localhost:3000.other.example/"},
		{"another scheme", "ftp://localhost:3000/me", "ftp://localhost:3000/me"},
		{"no host", "http:///me", "http:///me"},
		{"mail", "mailto:me@localhost:3000", "mailto:me@localhost:3000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := atEdge.URL(c.in); got != c.want {
				t.Errorf("URL(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

// TestURLWithPorts: nginx adds its own port to the host of the request, and clients may
// use a port too.
func TestURLWithPorts(t *testing.T) {
	nginx := Map{Own: []Server{{"http", "www.shop.example"}, {"http", "10.0.0.5:8080"}}, Client: Server{"http", "www.shop.example"}, Target: "/doc"}
	if got := nginx.URL("http://www.shop.example:8080/doc/"); got != "http://www.shop.example/doc/" {
		t.Errorf("the port of the origin: %q", got)
	}
	door := Map{Own: []Server{{"http", "www.shop.example"}}, Client: Server{"http", "127.0.0.1:8100"}, Target: "/"}
	for in, want := range map[string]string{
		"http://www.shop.example/me":     "http://127.0.0.1:8100/me",
		"http://www.shop.example:80/me":  "http://127.0.0.1:8100/me",
		"https://www.shop.example/me":    "http://127.0.0.1:8100/me",
		"https://www.shop.example/":      "https://127.0.0.1/",
		"http://www.shop.example:81/":    "http://www.shop.example:81/",
		"http://localhost:8100/":         "http://localhost:8100/",
		"//www.shop.example":             "//127.0.0.1:8100",
		"http://www.shop.example.other/": "http://www.shop.example.other/",
	} {
		if got := door.URL(in); got != want {
			t.Errorf("URL(%q) = %q, want %q", in, got, want)
		}
	}
	six := Map{Own: []Server{{"https", "[2001:db8::5]"}}, Client: Server{"http", "[2001:db8::1]:8080"}, Target: "/x"}
	for in, want := range map[string]string{
		"https://[2001:db8:0::5]/me": "http://[2001:db8::1]:8080/me",
		"http://[2001:db8::5]/me":    "http://[2001:db8::1]:8080/me",
		"https://[2001:DB8::5]/x":    "https://[2001:db8::1]/x",
	} {
		if got := six.URL(in); got != want {
			t.Errorf("URL(%q) = %q, want %q", in, got, want)
		}
	}
	if !six.Upgrades("https://[2001:db8::1]/x") || six.Upgrades("http://[2001:db8::1]:8080/x") || six.Upgrades("https://other.example/") || six.Upgrades("/x") {
		t.Error("Upgrades")
	}
}

func TestField(t *testing.T) {
	for _, c := range []struct{ field, in, want string }{
		{"location", "http://localhost:3000/", "http://www.shop.example/"},
		{"content-location", "http://localhost:3000/a.json", "http://www.shop.example/a.json"},
		{"refresh", "5; url=http://localhost:3000/a", "5; url=http://www.shop.example/a"},
		{"refresh", `0;URL = "http://localhost:3000/a" `, `0;URL = "http://www.shop.example/a" `},
		{"refresh", "0, 'http://localhost:3000/a'", "0, 'http://www.shop.example/a'"},
		{"refresh", "3; http://localhost:3000/a", "3; http://www.shop.example/a"},
		{"refresh", "3", "3"},
		{"refresh", "3;", "3;"},
		{"refresh", "0; url=/a", "0; url=/a"},
		{"link", `<http://localhost:3000/a.css>; rel=preload, </b.js>; title="<http://localhost:3000/>, \"x", <//localhost:3000/c>`,
			`<http://www.shop.example/a.css>; rel=preload, </b.js>; title="<http://localhost:3000/>, \"x", <//www.shop.example/c>`},
		{"link", "<http://localhost:3000/a", "<http://localhost:3000/a"},
		{"set-cookie", "s=1; Path=/; Domain=localhost; HttpOnly", "s=1; Path=/; Domain=www.shop.example; HttpOnly"},
		{"set-cookie", "s=1;domain=.Origin.Shop.Example", "s=1;domain=www.shop.example"},
		{"set-cookie", "s=1; Domain=shop.example", "s=1; Domain=shop.example"},
		{"set-cookie", "s=1; Domain=other.example", "s=1; Domain=other.example"},
		{"set-cookie", "s=domain=localhost", "s=domain=localhost"},
		{"set-cookie", "s=1; Domain=", "s=1; Domain="},
		{"server", "http://localhost:3000/", "http://localhost:3000/"},
	} {
		if got := atEdge.Field(c.field, c.in); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.field, c.in, got, c.want)
		}
	}
	door := Map{Own: []Server{{"http", "www.shop.example"}}, Client: Server{"http", "127.0.0.1:8100"}}
	for in, want := range map[string]string{
		"s=1; Domain=www.shop.example; Path=/": "s=1; Path=/",
		"s=1; Domain=.shop.example":            "s=1",
		"s=1; Domain=other.example":            "s=1; Domain=other.example",
	} {
		if got := door.Field("set-cookie", in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add("http://localhost:3000/me")
	f.Add("0; url=\"//[::1]:3000")
	f.Add(`<http://localhost:3000/>; title="\`)
	f.Add("s=1; Domain=.localhost.")
	f.Fuzz(func(t *testing.T, v string) {
		for _, name := range Fields {
			once := atEdge.Field(name, v)
			if again := atEdge.Field(name, once); again != once {
				t.Errorf("%s: %q became %q and then %q", name, v, once, again)
			}
		}
	})
}
