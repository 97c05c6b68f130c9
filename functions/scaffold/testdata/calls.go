// A guest that uses all of http.go.tmpl, for TestBindings.
package main

import "fmt"

func init() {
	handle = func() bool {
		switch u := uri(); {
		case len(u) > 8<<10:
			write(fmt.Sprint(len(u), " ", len(header(request, "X-Long"))))
		case u == "/pass":
			removeHeader(request, "Range")
			addHeader(request, "X-Guest", method())
			setURI("/passed")
			return false
		case u == "/headers":
			write(header(request, "X-Two") + "|" + header(request, "X-None") + "|")
		case u == "/body":
			write(string(body(request)))
		case u == "/kv":
			for _, key := range []string{"a", "empty", "none"} {
				v, ok := kv(key)
				write(fmt.Sprintf("%s %v|", v, ok))
			}
		case u == "/info":
			write(edgeInfo() + clientInfo() + fmt.Sprint(now().Year() > 2000))
		case u == "/fetch":
			status, b := fetch("/other")
			write(fmt.Sprintf("%d %s|", status, b))
			status, b = fetch("no-path")
			write(fmt.Sprintf("%d %s|", status, b))
		default:
			setStatus(404)
		}
		return true
	}
	respond = func(failed bool) {
		was := body(response)
		write(fmt.Sprintf("%v %d %s", failed, status(), was))
	}
}

func main() {}
