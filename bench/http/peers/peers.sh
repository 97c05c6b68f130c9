#!/usr/bin/env bash
# Side-by-side bench of caching reverse proxies: one core for the server, one
# for the client. One row a peer: requests/s, p50, p99, server CPU seconds per
# 100k requests (user+system over its process tree; the steadier number) and
# how many requests reached the origin while measuring (must be 0).
#
#   bench/http/peers/peers.sh [NAME=URL#PID ...]
# A NAME=URL#PID argument adds a cache that is already running, in front of
# the origin this script starts on 127.0.0.1:$BASE (start it on core $SCORE;
# the script pins it again).
#
# Environment: PEERS="perto nginx varnish ats squid haproxy apache caddy" (those not
# installed are skipped), LOADS="1k 100k zipf", DUR=6, CONNS=64, BASE=8300,
# SCORE=0, CCORE=1, REPEAT=1, CADDY=path of a caddy that has http.handlers.cache,
# QUIET=0: with QUIET=N each measurement first waits up to N seconds for an idle
# machine and is taken again (up to 3 times) when other processes used more than
# 12% of a core meanwhile (column noise).
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BASE=${BASE:-8300} DUR=${DUR:-6} CONNS=${CONNS:-64} SCORE=${SCORE:-0} CCORE=${CCORE:-1}
REPEAT=${REPEAT:-1} LOADS=${LOADS:-"1k 100k zipf"} CADDY=${CADDY:-caddy}
QUIET=${QUIET:-0}
PEERS=${PEERS-"perto nginx varnish ats squid haproxy apache caddy"}
TMP=$(mktemp -d) || exit 1
chmod 755 "$TMP"
ORIGIN=127.0.0.1:$BASE
pids=()

tree() { # all processes of the tree with root $1
  local p=$1 c
  echo "$p"
  for c in $(cat /proc/"$p"/task/*/children 2>/dev/null); do tree "$c"; done
}
stop() { # end a tree we started, by pid
  local all; all=$(tree "$1")
  kill -TERM $all 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $all 2>/dev/null || return 0
    sleep 0.2
  done
  kill -KILL $all 2>/dev/null
  wait "$1" 2>/dev/null
}
cleanup() { for p in "${pids[@]}"; do stop "$p"; done; [ -n "${KEEP:-}" ] || rm -rf "$TMP"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

cpu() { # ticks (user+system) of the tree with root $1
  local p t=0 u
  for p in $(tree "$1"); do
    u=$(sed 's/^.*) //' "/proc/$p/stat" 2>/dev/null | awk '{print $12+$13}')
    t=$((t + ${u:-0}))
  done
  echo $t
}
busy() { awk '/^cpu /{print $2+$3+$4}' /proc/stat; } # ticks of user+nice+system, whole machine
quiet() { # with QUIET=N wait up to N seconds for a second in which the machine is nearly idle
  local i a b
  for ((i = 0; i < QUIET; i++)); do
    a=$(busy); sleep 1; b=$(busy)
    [ $((b - a)) -lt $(($(getconf CLK_TCK) / 10)) ] && return
  done
}
count() { curl -s "http://$ORIGIN/count"; }
up() { # wait until something answers on port $1
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    sleep 0.1
  done
  return 1
}
launch() { taskset -c "$SCORE" "$@" >"$TMP/$name.log" 2>&1 & pid=$!; }

# Each start_NAME writes its configuration under $d, starts on $port, sets pid.
start_perto() {
  (cd "$here/.." && go build -o "$d/perto" .) || return 1
  GOMAXPROCS=1 launch "$d/perto" -listen "127.0.0.1:$port" -origin "http://$ORIGIN"
}
start_nginx() {
  cat >"$d/c" <<EOF
user root; worker_processes 1; daemon off; pid $d/pid; error_log $d/err crit;
events { worker_connections 4096; multi_accept on; }
http { access_log off; sendfile on; tcp_nodelay on; # no tcp_nopush: with it 100 KiB takes 43 ms on loopback (delayed ACK)
 
  keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path $d/b; proxy_temp_path $d/p; fastcgi_temp_path $d/f; uwsgi_temp_path $d/u; scgi_temp_path $d/s;
  proxy_cache_path $d/cache levels=1:2 keys_zone=z:16m max_size=1g inactive=1h use_temp_path=off;
  upstream o { server $ORIGIN; keepalive 16; }
  server { listen 127.0.0.1:$port; location / { proxy_pass http://o; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_cache z; proxy_cache_lock on; } } }
EOF
  launch nginx -c "$d/c" -p "$d"
}
start_varnish() {
  printf 'vcl 4.1;\nbackend default { .host="127.0.0.1"; .port="%s"; }\n' "$BASE" >"$d/c.vcl"
  launch varnishd -F -j none -n "$d/n" -a "127.0.0.1:$port" -T none -f "$d/c.vcl" \
    -s malloc,512m -p thread_pools=1 -p thread_pool_min=128 -p thread_pool_max=512 -p default_grace=10
}
start_ats() {
  mkdir -p "$d"/{etc,log,run,cache}
  cp -r /etc/trafficserver/. "$d/etc/"
  cat >"$d/runroot.yaml" <<EOF
prefix: $d
sysconfdir: $d/etc
localstatedir: $d/run
runtimedir: $d/run
logdir: $d/log
cachedir: $d/cache
bindir: /usr/bin
sbindir: /usr/bin
libexecdir: /usr/lib/trafficserver/modules
datadir: $d/run
EOF
  cat >"$d/etc/records.config" <<EOF
CONFIG proxy.config.http.server_ports STRING $port:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.exec_thread.autoconfig.enabled INT 0
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.cache.threads_per_disk INT 1
CONFIG proxy.config.cache.ram_cache.size INT 536870912
CONFIG proxy.config.cache.ram_cache_cutoff INT 4194304
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.http.cache.http INT 1
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 600
CONFIG proxy.config.diags.debug.enabled INT 0
EOF
  echo "map / http://$ORIGIN/" >"$d/etc/remap.config"
  echo "$d/cache 1G" >"$d/etc/storage.config"
  launch traffic_server --run-root="$d/runroot.yaml"
}
start_squid() {
  cat >"$d/c" <<EOF
http_port 127.0.0.1:$port accel defaultsite=bench no-vhost
cache_peer 127.0.0.1 parent $BASE 0 no-query no-digest originserver
http_access allow all
cache_mem 512 MB
memory_cache_shared off
maximum_object_size_in_memory 4 MB
access_log none
cache_log $d/cache.log
cache_store_log none
pid_filename none
coredump_dir $d
cache_effective_user proxy
pinger_enable off
netdb_filename none
client_persistent_connections on
shutdown_lifetime 0 seconds
EOF
  chown proxy "$d"
  launch squid -N -n "bench$$" -f "$d/c"
}
start_haproxy() {
  cat >"$d/c" <<EOF
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
cache c
  total-max-size 512
  max-object-size 1000000
  max-age 3600
frontend f
  bind 127.0.0.1:$port
  http-request cache-use c
  http-response cache-store c
  default_backend b
backend b
  server s $ORIGIN
EOF
  launch haproxy -db -f "$d/c"
}
start_apache() {
  local m=/usr/lib/apache2/modules x
  { echo "ServerRoot $d"; echo "ServerName bench"; echo "PidFile $d/pid"; echo "ErrorLog $d/err"
    echo "Listen 127.0.0.1:$port"
    for x in mpm_event authz_core unixd proxy proxy_http cache cache_disk; do
      [ -e "$m/mod_$x.so" ] && echo "LoadModule ${x}_module $m/mod_$x.so"; done
    cat <<EOF
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 128
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 600
EnableSendfile On
CacheQuickHandler On
CacheEnable disk /
CacheRoot $d/cache
CacheDirLevels 2
CacheDirLength 1
CacheMaxFileSize 10000000
ProxyPass / http://$ORIGIN/
EOF
  } >"$d/c"
  mkdir -p "$d/cache"; chown www-data "$d/cache"
  launch apache2 -f "$d/c" -DFOREGROUND
}
start_caddy() {
  cat >"$d/c" <<EOF
{
  admin off
  auto_https off
  persist_config off
  cache
}
http://127.0.0.1:$port {
  bind 127.0.0.1
  route {
    cache {
      ttl 3600s
    }
    reverse_proxy $ORIGIN
  }
}
EOF
  launch env HOME="$d" XDG_DATA_HOME="$d" "$CADDY" run --adapter caddyfile --config "$d/c"
}
have() {
  case $1 in
    perto) true;;
    nginx) command -v nginx;; varnish) command -v varnishd;; ats) command -v traffic_server;;
    squid) command -v squid;; haproxy) command -v haproxy;; apache) command -v apache2;;
    caddy) "$CADDY" list-modules 2>/dev/null | grep -qx http.handlers.cache;;
    *) false;;
  esac >/dev/null
}
version() {
  case $1 in
    perto) git -C "$here" rev-parse --short HEAD;;
    nginx) nginx -v 2>&1 | sed 's/.*nginx.//';; varnish) varnishd -V 2>&1 | sed -n '1s/.*varnish-\([0-9.]*\).*/\1/p';;
    ats) traffic_server -V | sed -n '1s/^Traffic Server \([0-9.]*\).*/\1/p';;
    squid) squid -v | sed -n '1s/.*Version //p';; haproxy) haproxy -v | sed -n '1s/.*version \([0-9.]*\).*/\1/p';;
    apache) apache2 -v | sed -n '1s/.*Apache.\([0-9.]*\).*/\1/p';; caddy) "$CADDY" version | cut -d' ' -f1;;
  esac
}

drive() { # NAME URL PID LOAD
  local args=() path c0 c1 o0 o1 out n b0 b1 w try
  local TIMEFORMAT='%U %S'
  case $4 in
    1k) path=/obj/1024/1;; 100k) path=/obj/102400/1;;
    zipf) path=/; args=(-s "$here/zipf.lua");;
  esac
  taskset -c "$CCORE" wrk -t1 -c "$CONNS" -d1s "${args[@]}" "$2$path" >/dev/null 2>&1
  for try in 1 2 3; do
    quiet
    o0=$(count); c0=$(cpu "$3"); b0=$(busy)
    { time out=$(taskset -c "$CCORE" wrk -t1 -c "$CONNS" -d"${DUR}s" --latency "${args[@]}" "$2$path" 2>&1); } 2>"$TMP/time"
    c1=$(cpu "$3"); b1=$(busy); o1=$(count); w=$(cat "$TMP/time")
    n=$(awk '/requests in/{print $1}' <<<"$out")
    # CPU of everybody else, as a share of one core
    noise=$(awk -v b=$((b1 - b0)) -v t=$((c1 - c0)) -v hz="$(getconf CLK_TCK)" -v dur="$DUR" '{x=(b-t)/hz-$1-$2; printf "%d", (x<0?0:x)/dur*100}' <<<"$w")
    if [ "$QUIET" = 0 ] || [ "$noise" -le 12 ]; then break; fi
  done
  awk -v name="$1" -v load="$4" -v t=$((c1 - c0)) -v n="${n:-0}" -v o=$((o1 - o0)) -v hz="$(getconf CLK_TCK)" -v dur="$DUR" -v noise="$noise" '
    /Requests\/sec/{r=$2} /Transfer\/sec/{x=$2} $1=="50%"{a=$2} $1=="99%"{b=$2}
    /Socket errors/{e=$0} /Non-2xx/{e=e" "$0}
    END{printf "%-18s %-5s %10.0f %10s %10s %12.3f %6.0f%% %9s %7d %5d%% %s\n", name, load, r, a, b, n?t/hz/n*1e5:0, t/hz/dur*100, x, o, noise, e}' <<<"$out"
}
run_one() { # NAME URL PID
  "$TMP/origin" -warm "$2" || { echo "$1: could not be warmed"; return 1; }
  local l o0 o1
  o0=$(count)
  for _ in 1 2 3; do for l in /obj/1024/1 /obj/102400/1; do curl -s -o /dev/null "$2$l"; done; done
  o1=$(count)
  [ "$o0" = "$o1" ] || { echo "$1: not a hit after warming ($((o1 - o0)) origin requests), left out"; return 1; }
  for _ in $(seq "$REPEAT"); do for l in $LOADS; do drive "$1" "$2" "$3" "$l"; done; done
}

for t in wrk curl taskset go; do command -v $t >/dev/null || { echo "needs $t"; exit 1; }; done
(cd "$here" && go build -o "$TMP/origin" origin.go) || exit 1
taskset -c "$CCORE" "$TMP/origin" -addr "$ORIGIN" & pids+=($!)
up "$BASE" || { echo "origin did not start"; exit 1; }

echo "# $(date -u +%F), $(nproc) cores shared, $(uname -r), server on core $SCORE, wrk -t1 -c$CONNS -d${DUR}s on core $CCORE"
printf "%-18s %-5s %10s %10s %10s %12s %7s %9s %7s %6s\n" server load req/s p50 p99 CPUs/100kreq cpu net/s origin noise
i=0
for name in $PEERS; do
  i=$((i + 1)); port=$((BASE + i)); d=$TMP/$name
  have "$name" || { echo "$name: not installed (or, for caddy, without a cache module), left out"; continue; }
  mkdir -p "$d"; pid=0
  "start_$name"; pids+=("$pid")
  if up "$port"; then run_one "$name-$(version "$name")" "http://127.0.0.1:$port" "$pid"
  else echo "$name: did not start"; tail -5 "$TMP/$name.log"; fi
  stop "$pid"
done
for a in "$@"; do
  n=${a%%=*} rest=${a#*=}; url=${rest%%#*} p=${rest##*#}
  for q in $(tree "$p"); do taskset -acp "$SCORE" "$q" >/dev/null; done
  run_one "$n" "$url" "$p"
done
