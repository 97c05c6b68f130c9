// A WASI command for tests: it responds as a CGI program does.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	switch os.Getenv("PATH_INFO") {
	case "/silent":
	case "/fail":
		fmt.Fprint(os.Stderr, "no luck")
		fmt.Fprint(os.Stderr, " today\nnor tomorrow")
		os.Exit(3)
	case "/file":
		_, err := os.ReadFile("/etc/passwd")
		fmt.Printf("Content-Type: text/plain\n\n%v", err)
	case "/moved":
		fmt.Print("Location: /elsewhere\n\n")
	case "/big":
		fmt.Print("\n")
		for {
			os.Stdout.Write(make([]byte, 1<<16))
		}
	default:
		body, _ := io.ReadAll(os.Stdin)
		fmt.Printf("Status: 201 Created\nContent-Type: text/plain\n\n%s %s?%s %s %q proxy=%q args=%q", os.Getenv("REQUEST_METHOD"), os.Getenv("PATH_INFO"), os.Getenv("QUERY_STRING"), os.Getenv("HTTP_X_TWO"), body, os.Getenv("HTTP_PROXY"), os.Args[1:])
	}
}
