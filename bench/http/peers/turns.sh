#!/usr/bin/env bash
# Measures binaries of bench/http, and nginx, in turns: all run side by side on
# one core, each is loaded for DUR seconds, round after round. On a machine whose
# speed drifts (a shared one) only numbers of one round can be compared, so look at
# the median of the ratios, not at the best of each.
#
#   go build -o /tmp/old ./bench/http   # at one commit, /tmp/new at another
#   bench/http/peers/turns.sh 7 /obj/102400/1 /tmp/old /tmp/new nginx
#
# Columns: server, requests, CPU seconds for 100,000 requests, p50, p99. The last
# lines give each server's median ratio to the last one.
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 3 ] || { sed -n '2,12p' "$0"; exit 2; }
rounds=$1 path=$2; shift 2
BASE=${BASE:-28480} DUR=${DUR:-2} SCORE=${SCORE:-0} CCORE=${CCORE:-1} CONNS=${CONNS:-64}
TMP=$(mktemp -d) pids=()
cleanup() { kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$TMP"; }
trap cleanup EXIT
(cd "$here" && go build -o "$TMP/origin" origin.go) || exit 1
taskset -c "$CCORE" "$TMP/origin" -addr "127.0.0.1:$BASE" >/dev/null 2>&1 & pids+=($!)
cat >"$TMP/nginx.conf" <<END
user root; worker_processes 1; daemon off; pid $TMP/pid; error_log $TMP/err crit;
events { worker_connections 4096; multi_accept on; }
http { access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path $TMP/b; proxy_temp_path $TMP/p; fastcgi_temp_path $TMP/f; uwsgi_temp_path $TMP/u; scgi_temp_path $TMP/s;
  proxy_cache_path $TMP/cache levels=1:2 keys_zone=z:16m max_size=1g inactive=1h use_temp_path=off;
  upstream o { server 127.0.0.1:$BASE; keepalive 16; }
  server { listen 127.0.0.1:$((BASE + $#)); location / { proxy_pass http://o; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_cache z; proxy_cache_lock on; } } }
END
servers=() i=0
for b in "$@"; do
  i=$((i + 1))
  case $b in
    nginx) sed -i "s/listen 127.0.0.1:[0-9]*/listen 127.0.0.1:$((BASE + i))/" "$TMP/nginx.conf"
      taskset -c "$SCORE" nginx -c "$TMP/nginx.conf" -p "$TMP" & ;;
    *) GOMAXPROCS=1 taskset -c "$SCORE" "$b" -listen "127.0.0.1:$((BASE + i))" -origin "http://127.0.0.1:$BASE" >/dev/null 2>&1 & ;;
  esac
  pids+=($!) servers+=($!)
done
sleep 1
cpu() { # ticks (user+system) of a process and its children
  local t=0 p
  for p in "$1" $(pgrep -P "$1"); do t=$((t + $(sed 's/^.*) //' "/proc/$p/stat" | awk '{print $12+$13}'))); done
  echo $t
}
hz=$(getconf CLK_TCK)
for _ in $(seq "$rounds"); do
  i=0
  for b in "$@"; do
    i=$((i + 1)) url=http://127.0.0.1:$((BASE + i))$path
    for _ in 1 2 3; do curl -s -o /dev/null "$url"; done
    taskset -c "$CCORE" wrk -t1 -c"$CONNS" -d0.3s "$url" >/dev/null
    c0=$(cpu "${servers[i - 1]}"); out=$(taskset -c "$CCORE" wrk -t1 -c"$CONNS" -d"${DUR}s" --latency "$url"); c1=$(cpu "${servers[i - 1]}")
    awk -v name="$(basename "$b")" -v t=$((c1 - c0)) -v hz="$hz" '/requests in/{n=$1} $1=="50%"{a=$2} $1=="99%"{b=$2}
      END{printf "%-16s %8d %8.3f %10s %10s\n", name, n, n?t/hz/n*1e5:0, a, b}' <<<"$out"
  done
done | tee "$TMP/out"
i=0
for b in "$@"; do
  i=$((i + 1))
  awk -v i=$((i % $#)) -v n=$# 'NR%n==i{x=$3} NR%n==0{print x/$3}' "$TMP/out" | sort -n |
    awk -v name="$(basename "$b")" '{r[NR]=$1} END{printf "%-16s %.3f x the last one (median of %d)\n", name, r[int((NR+1)/2)], NR}'
done
