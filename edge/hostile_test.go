package edge

import (
	"fmt"
	"strings"
	"testing"
)

// TestABodyThatNobodyReadIsNoRequest: where the edge answers by itself, the body
// of the request is still on the connection. Taken for the next request it would
// be one that a proxy in front of us never saw.
func TestABodyThatNobodyReadIsNoRequest(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		for _, head := range []string{
			"POST " + HealthPath + " HTTP/1.1\r\nHost: shop.example\r\n",
			"PUT /a HTTP/1.1\r\nHost: shop.example\r\nCDN-Loop: perto-gru-1\r\n",
			"POST /a HTTP/1.1\r\nHost: unknown\r\n",
			"POST /%zz HTTP/1.1\r\nHost: shop.example\r\n",
			"DELETE /a HTTP/1.1\r\nHost: shop.example\r\nCDN-Loop: perto-gru-1\r\nTransfer-Encoding: chunked\r\nX: ",
		} {
			got := b.ask(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(getClose), getClose))
			if strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close\r\n") {
				b.Errorf("%.60q: got %q, want one reply and the end", head, got)
			}
		}
	})
}
