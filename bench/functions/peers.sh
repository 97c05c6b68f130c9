#!/usr/bin/env bash
# Measures a personalised greeting at the edge beside workerd (the open runtime of
# Cloudflare Workers), in turns: perto with the shop's guest in C, pooled and a fresh
# instance for each request, and workerd with the same in JavaScript. Different
# languages: what is compared is what a request to code costs on each, not the
# languages.
#
#   npm install --prefix DIR workerd
#   WORKERD=DIR/node_modules/.bin/workerd bench/functions/peers.sh [ROUNDS]
#
# Columns: server, requests, CPU seconds for 100,000 requests, p50, p99, resident MB.
# The last lines are medians of the second figure.
set -euo pipefail
cd "$(dirname "$0")/../.."
WORKERD=${WORKERD:?npm install --prefix DIR workerd, then WORKERD=DIR/node_modules/.bin/workerd}
rounds=${1:-5} BASE=${BASE:-28580} DUR=${DUR:-3} CONNS=${CONNS:-16}
TMP=$(mktemp -d) pids=()
cleanup() { kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$TMP"; }
trap cleanup EXIT
go build -o "$TMP/perto" ./cmd/perto
cp origin/functions/guests/greeting.wasm "$TMP/"
cat >"$TMP/cdn.zone" <<END
\$TTL 1m
@ SOA ns hostmaster 1 1h 1h 1h 1m
@ NS ns
ns A 192.0.2.1
END
for activation in pooled per-request; do
	port=$BASE
	[ $activation = pooled ] || port=$((BASE + 1))
	cat >"$TMP/$activation.hcl" <<END
node "one" {
  roles = ["edge"]
  http  = ["127.0.0.1:$port"]
  api   = ""
}
pop "here" {
  place = "0,0"
  edge "one" { addresses = ["127.0.0.1"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  origin "http://127.0.0.1:1" {}
  function "/greeting" {
    module     = "greeting"
    activation = "$activation"
  }
}
END
	GOMAXPROCS=1 taskset -c 0 "$TMP/perto" run -c "$TMP/$activation.hcl" >"$TMP/$activation.log" 2>&1 < <(sleep infinity) &
	pids+=($!)
done
cat >"$TMP/greeting.js" <<'END'
const escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"};
export default {
	fetch(request) {
		const cookie = (request.headers.get("cookie") ?? "").split(";").map(c => c.trim()).find(c => c.startsWith("name="));
		const name = cookie?.slice(5) || "you";
		return new Response(`<p>Good to see ${name.replace(/[&<>"']/g, c => escapes[c])}.</p>\n`, {
			headers: {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "private, no-store", "Vary": "Cookie", "X-Ran-At": "workerd"},
		});
	},
};
END
cat >"$TMP/config.capnp" <<END
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [(name = "greeting.js", esModule = embed "greeting.js")], compatibilityDate = "2026-01-01"))],
  sockets = [(name = "http", address = "127.0.0.1:$((BASE + 2))", http = (), service = "main")]
);
END
taskset -c 0 "$WORKERD" serve "$TMP/config.capnp" >"$TMP/workerd.log" 2>&1 &
pids+=($!)
names=(perto-pooled perto-per-request workerd)
for i in 0 1 2; do
	for _ in $(seq 100); do
		curl -s -o /dev/null -H 'Host: shop.cdn.example' "http://127.0.0.1:$((BASE + i))/greeting" && break
		sleep 0.1
	done
	body=$(curl -s -H 'Host: shop.cdn.example' -H 'Cookie: name=Ana' "http://127.0.0.1:$((BASE + i))/greeting")
	[ "$body" = "<p>Good to see Ana.</p>" ] || { echo "${names[i]} answers: $body"; cat "$TMP"/*.log; exit 1; }
done
tree() { # a process and its descendants
	echo "$1"
	for c in $(pgrep -P "$1" || true); do tree "$c"; done
}
ticks() {
	local t=0 p
	for p in $(tree "$1"); do t=$((t + $(sed 's/^.*) //' "/proc/$p/stat" | awk '{print $12+$13}'))); done
	echo $t
}
resident() {
	for p in $(tree "$1"); do awk '/VmRSS/{print $2}' "/proc/$p/status"; done | awk '{n+=$1} END{printf "%.0f", n/1024}'
}
hz=$(getconf CLK_TCK)
load() { taskset -c 1 wrk -t1 -c"$CONNS" -d"$2" --latency -H 'Host: shop.cdn.example' -H 'Cookie: name=Ana' "http://127.0.0.1:$1/greeting"; }
for _ in $(seq "$rounds"); do
	for i in 0 1 2; do
		load $((BASE + i)) 1s >/dev/null
		c0=$(ticks "${pids[i]}")
		out=$(load $((BASE + i)) "${DUR}s")
		c1=$(ticks "${pids[i]}")
		awk -v name="${names[i]}" -v t=$((c1 - c0)) -v hz="$hz" -v rss="$(resident "${pids[i]}")" \
			'/requests in/{n=$1} $1=="50%"{a=$2} $1=="99%"{b=$2} /Non-2xx/{bad=1} END{printf "%-18s %8d %8.3f %10s %10s %6d%s\n", name, n, n?t/hz/n*1e5:0, a, b, rss, bad?" FAILED":""}' <<<"$out"
	done
done | tee "$TMP/out"
for name in "${names[@]}"; do
	awk -v name="$name" '$1==name{print $3}' "$TMP/out" | sort -n | awk -v name="$name" '{v[NR]=$1} END{printf "%-18s %.3f s for 100,000 (median of %d)\n", name, v[int((NR+1)/2)], NR}'
done
