#!/usr/bin/env bash
# Counts the DNS queries that a reload loses, for one or more binaries of perto, in turns.
#
#   bench/reload/run.sh ROUNDS PERTO...
set -euo pipefail
rounds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
node=""
trap 'kill $node 2>/dev/null || true; rm -rf "$dir"' EXIT
(cd "$here" && go build -o "$dir/reload" .)
cat >"$dir/perto.hcl" <<HCL
node "one" {
  roles     = ["dns", "edge"]
  data      = "$dir/data"
  dns       = ["127.0.0.1:25353"]
  http      = ["127.0.0.1:25380"]
  heartbeat = "127.0.0.1:25399"
  api       = "127.0.0.1:25310"
  key       = "$dir/key"
}
pop "here" {
  place = "Lisbon, PT"
  edge "one" { addresses = ["127.0.0.1"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  origin "http://127.0.0.1:25390" {}
}
HCL
printf '$TTL 60\n@ IN SOA ns1 h 1 2 3 4 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n' >"$dir/cdn.zone"
"$1" key new >"$dir/key"
chmod 600 "$dir/key"
for _ in $(seq "$rounds"); do
	for perto in "$@"; do
		rm -rf "$dir/data"
		mkdir "$dir/data"
		"$perto" run -c "$dir/perto.hcl" >"$dir/log" 2>&1 &
		node=$!
		until "$perto" --api 127.0.0.1:25310 health >/dev/null 2>&1; do kill -0 "$node"; done
		printf '%s: %s\n' "$perto" "$("$dir/reload" 25353 "$node")"
		kill "$node"
		wait "$node" || true
	done
done
