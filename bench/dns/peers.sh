#!/usr/bin/env bash
# Authoritative and geo DNS servers side by side, one core for the server, one
# for the client. One row a server and load; the number to compare is cpu_s/Mq:
# CPU seconds (user + system over the process tree) for a million queries.
#
#   bench/dns/peers.sh [-l SECONDS] [-m one|wild|both] [-e] [-n TIMES] [-p "SERVER ..."]
#
#   -l  seconds a run (8)
#   -m  one: a single name; wild: 1,000 names below a wildcard (both)
#   -e  also runs with an EDNS Client Subnet in every query, where the server
#       decides by it
#   -n  how often all servers are run, in turn (1)
#   -p  only these (perto nsd knot_static knot gdnsd pdns_geo pdns_lua bind
#       coredns); those not installed are skipped
#
# Environment: SCORE (0) server core, CCORE (1) client core, BASEPORT (5310), OUT
# (100) outstanding queries, COREDNS: its path when it is not in PATH.
# Needs dnsperf, kdig, go, taskset; on Debian the servers are nsd, knot and
# knot-module-geoip, gdnsd, pdns-server and pdns-backend-geoip, bind9.
#
# What is served: zone bench.test; www and *.geo answer an A record by region, SA
# 127.1.0.1, NA .2, EU .3, AS .4 (nsd and knot_static always .9). The geo data
# (mkmmdb) cuts 127.0.0.0/8 into four /10s SA, NA, EU, AS. The first line of each
# server says whether it decided right, by source address and by ECS.
set -u
here=$(cd "$(dirname "$0")" && pwd)
L=8 M=both ECS=0 ONLY="" TIMES=1
while getopts "l:m:p:n:e" o; do
  case $o in l) L=$OPTARG ;; m) M=$OPTARG ;; p) ONLY=$OPTARG ;; n) TIMES=$OPTARG ;; e) ECS=1 ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
SCORE=${SCORE:-0} CCORE=${CCORE:-1} BASEPORT=${BASEPORT:-5310} OUT=${OUT:-100}
COREDNS=${COREDNS:-$(command -v coredns || true)}
D=$(mktemp -d) || exit 1
PID=""
stop() {
  [ -n "$PID" ] || return 0
  local p; for p in $(tree "$PID"); do kill "$p" 2>/dev/null; done
  for _ in $(seq 50); do kill -0 "$PID" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$PID" 2>/dev/null; wait "$PID" 2>/dev/null; PID=""
}
trap 'stop; rm -rf "$D"' EXIT
trap 'exit 130' INT TERM

# --- the process tree of a pid, and its CPU ticks --------------------------------------------
tree() { local k; echo "$1"; for k in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$k"; done; }
ticks() {
  local p s=0 t
  for p in $(tree "$1"); do
    t=$(sed 's/^.*) //' /proc/"$p"/stat 2>/dev/null | awk '{print $12+$13}'); s=$((s + ${t:-0}))
  done
  echo "$s"
}
HZ=$(getconf CLK_TCK)

# --- inputs ----------------------------------------------------------------------------------
mkdir -p "$D/geo"
(cd "$here/../.." && go run ./bench/dns/mkmmdb "$D/geo/GeoLite2-City.mmdb" && go build -o "$D/perto" ./cmd/perto) || { echo "the build failed"; exit 1; }
DB=$D/geo/GeoLite2-City.mmdb
zone() { # $1 = address
  cat <<Z
\$ORIGIN bench.test.
\$TTL 60
@ SOA ns1 hostmaster 1 3600 900 604800 60
@ NS ns1
ns1 A 127.0.0.1
www A $1
*.geo A $1
Z
}
echo "www.bench.test A" >"$D/q.one"
for i in $(seq 1000); do echo "h$i.geo.bench.test A"; done >"$D/q.wild"
reg() { echo $((((($1 * 256 + $2) * 2654435761) & 4294967295) >> 30)); }
declare -a NETS # a public /24 of each region
for b in $(seq 0 40); do r=$(reg 200 "$b"); NETS[r]=${NETS[r]:-200.$b.7.0/24}; done
ehex() { local IFS=./; set -- $1; printf '8:00011800%02x%02x%02x' "$1" "$2" "$3"; }

# --- one starter a peer: start_X port ---------------------------------------------------------
bg() { taskset -c "$SCORE" "$@" >"$D/log" 2>&1 & PID=$!; }
start_nsd() {
  mkdir -p "$D/nsd"; zone 127.1.0.9 >"$D/nsd/z"
  cat >"$D/nsd/c" <<C
server:
  ip-address: 127.0.0.1@$1
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "$D/nsd"
  database: ""
  pidfile: "$D/nsd/pid"
  xfrdfile: "$D/nsd/xfrd"
  zonelistfile: "$D/nsd/zl"
  rrl-ratelimit: 0
  minimal-responses: yes
remote-control:
  control-enable: no
zone:
  name: bench.test
  zonefile: z
C
  bg nsd -d -c "$D/nsd/c"
}
knotconf() { # port geo?
  mkdir -p "$D/knot"; zone 127.1.0.9 >"$D/knot/z"
  cat >"$D/knot/c" <<C
server:
  rundir: "$D/knot"
  listen: 127.0.0.1@$1
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  edns-client-subnet: on
database:
  storage: "$D/knot"
log:
  - target: stderr
    any: warning
C
  if [ "$2" = geo ]; then
    for n in www.bench.test '*.geo.bench.test'; do
      echo "$n:"
      i=1; for c in SA NA EU AS; do printf -- '  - geo: "%s"\n    A: 127.1.0.%s\n' $c $i; i=$((i + 1)); done
    done >"$D/knot/geo"
    cat >>"$D/knot/c" <<C
mod-geoip:
  - id: g
    config-file: "$D/knot/geo"
    ttl: 60
    mode: geodb
    geodb-file: "$DB"
    geodb-key: [ continent/code ]
C
  fi
  cat >>"$D/knot/c" <<C
zone:
  - domain: bench.test
    file: "$D/knot/z"
C
  [ "$2" = geo ] && echo "    module: mod-geoip/g" >>"$D/knot/c"
  bg knotd -c "$D/knot/c"
}
start_knot_static() { knotconf "$1" static; }
start_knot() { rm -rf "$D/knot"; knotconf "$1" geo; }
start_gdnsd() {
  mkdir -p "$D/gd/zones" "$D/gd/run" "$D/gd/state"
  zone 127.1.0.9 | sed -e 's/^www .*/www 60 DYNA geoip!www/' -e 's/^\*\.geo .*/*.geo 60 DYNA geoip!www/' >"$D/gd/zones/bench.test"
  cat >"$D/gd/config" <<C
options => {
  listen => "127.0.0.1", dns_port => $1, udp_threads => 1, tcp_threads => 1,
  run_dir => "$D/gd/run", state_dir => "$D/gd/state"
}
plugins => { geoip => {
  maps => { m => {
    geoip2_db => "$DB", datacenters => [sa, na, eu, as],
    map => { SA => [sa, na, eu, as], NA => [na, eu, as, sa], EU => [eu, na, as, sa], AS => [as, na, eu, sa] }
  } },
  resources => { www => { map => m, dcmap => { sa => 127.1.0.1, na => 127.1.0.2, eu => 127.1.0.3, as => 127.1.0.4 } } }
} }
C
  bg gdnsd -c "$D/gd" start
}
pdnsconf() { # port
  cat >"$D/pd/pdns.conf" <<C
launch=geoip
geoip-database-files=mmdb:$DB
geoip-zones-file=$D/pd/z.yaml
local-address=127.0.0.1
local-port=$1
edns-subnet-processing=yes
enable-lua-records=shared
receiver-threads=1
distributor-threads=1
daemon=no
guardian=no
socket-dir=$D/pd
setuid=0
setgid=0
disable-syslog=yes
loglevel=3
security-poll-suffix=
C
  bg pdns_server --config-dir="$D/pd"
}
pdhead() {
  cat <<C
domains:
- domain: bench.test
  ttl: 60
  records:
    bench.test:
      - soa: ns1.bench.test hostmaster.bench.test 1 3600 900 604800 60
      - ns: ns1.bench.test
    ns1.bench.test:
      - a: 127.0.0.1
C
}
start_pdns_geo() {
  mkdir -p "$D/pd"
  { pdhead
    i=1; for c in sa na eu as; do printf '    %s.x.bench.test:\n      - a: 127.1.0.%s\n' $c $i; i=$((i + 1)); done
    printf "  services:\n    www.bench.test: '%%cn.x.bench.test'\n    '*.geo.bench.test': '%%cn.x.bench.test'\n"; } >"$D/pd/z.yaml"
  pdnsconf "$1"
}
start_pdns_lua() { # the four addresses are placed in the regions' public space for pickclosest
  mkdir -p "$D/pd"; local l="" n r
  for r in 0 1 2 3; do n=${NETS[r]%.0/24}; l="$l'$n.$((r + 1))',"; done
  { pdhead
    printf '    www.bench.test:\n      - lua: A "pickclosest({%s})"\n' "${l%,}"
    printf '    "*.geo.bench.test":\n      - lua: A "pickclosest({%s})"\n' "${l%,}"; } >"$D/pd/z.yaml"
  pdnsconf "$1"
}
start_bind() {
  mkdir -p "$D/bind"; local i=1 c
  { cat <<C
options { directory "$D/bind"; pid-file "$D/bind/pid"; session-keyfile "$D/bind/sk"; listen-on port $1 { 127.0.0.1; };
  listen-on-v6 { none; }; recursion no; minimal-responses yes; geoip-directory "$D/geo"; dnssec-validation no; notify no; };
controls { };
C
    for c in SA NA EU AS; do
      zone 127.1.0.$i >"$D/bind/z$c"; i=$((i + 1))
      echo "view $c { match-clients { geoip continent $c; }; zone bench.test { type primary; file \"z$c\"; }; };"
    done
    zone 127.1.0.9 >"$D/bind/zd"; echo 'view rest { zone bench.test { type primary; file "zd"; }; };'; } >"$D/bind/c"
  bg named -g -n 1 -c "$D/bind/c"
}
start_coredns() {
  mkdir -p "$D/cd"; local i=1 c
  for c in SA NA EU AS; do
    zone 127.1.0.$i >"$D/cd/z$c"; i=$((i + 1))
    cat <<C
bench.test:$1 {
  bind 127.0.0.1
  view $c {
    expr metadata('geoip/continent/code') == '$c'
  }
  geoip $DB {
    edns-subnet
  }
  metadata
  file $D/cd/z$c
}
C
  done >"$D/cd/Corefile"
  zone 127.1.0.9 >"$D/cd/zd"
  printf 'bench.test:%s {\n  bind 127.0.0.1\n  file %s\n}\n' "$1" "$D/cd/zd" >>"$D/cd/Corefile"
  bg "$COREDNS" -conf "$D/cd/Corefile"
}
start_perto() {
  mkdir -p "$D/perto.d"
  zone 127.1.0.9 | grep -v '^www\|^\*' >"$D/perto.d/z"
  { cat <<C
geodata { database = "$DB" }
node "bench" {
  roles     = ["dns"]
  addresses = ["127.0.0.1"]
  dns       = ["0.0.0.0:$1"]
  api       = ""
}
zone "bench.test" { file = "z" }
C
    local i=1 p
    for p in "sa -22.9,-43.2" "na 39.0,-77.5" "eu 50.1,8.7" "as 35.7,139.7"; do
      printf 'pop "%s" {\n  place = "%s"\n  edge "%s-1" { addresses = ["127.1.0.%s"] }\n}\n' "${p%% *}" "${p#* }" "${p%% *}" $i
      i=$((i + 1))
    done
    for p in www.bench.test '*.geo.bench.test'; do
      printf 'service "%s" {\n  origin "http://127.0.0.1:9" {}\n  probe "tcp" { port = %s }\n  map { ttl = "60s" }\n}\n' "$p" "$1"
    done; } >"$D/perto.d/c.hcl"
  GOMAXPROCS=1 bg "$D/perto" run -c "$D/perto.d/c.hcl"
}

# --- checks and runs ---------------------------------------------------------------------------
ask() { kdig @"$1" -p "$2" +time=1 +retry=1 +noall "${@:3}" 2>/dev/null; }
check() { # host port name -> short verdict
  local h=$1 p=$2 n=$3 i got s="" e="" sc
  for i in 0 1 2 3; do
    got=$(ask "$h" "$p" -b 127.$((i * 64 + 5)).0.1 "$n" A +answer | awk '$4=="A"{print $5; exit}')
    [ "${got##*.}" = $((i + 1)) ] && s=${s}y || s=${s}n
    got=$(ask "$h" "$p" "$n" A +answer +subnet="${NETS[i]}" | awk '$4=="A"{print $5; exit}')
    [ "${got##*.}" = $((i + 1)) ] && e=${e}y || e=${e}n
  done
  sc=$(kdig @"$h" -p "$p" +time=1 +retry=1 "$n" A +subnet="${NETS[1]}" 2>/dev/null | sed -n 's/.*CLIENT-SUBNET: *//p' | head -1)
  echo "src=$s ecs=$e echo=${sc:-none}"
}
perf() { # row host port pid qfile extra...
  local row=$1 h=$2 p=$3 pid=$4 q=$5; shift 5
  local a b out
  a=$(ticks "$pid")
  out=$(taskset -c "$CCORE" dnsperf -s "$h" -p "$p" -d "$q" -l "$L" -T 1 -c 4 -q "$OUT" "$@" 2>&1)
  b=$(ticks "$pid")
  echo "$out" | awk -v r="$row" -v t=$((b - a)) -v hz="$HZ" -v l="$L" '
    /Queries completed/ {c=$3} /Queries lost/ {lo=$3} /Queries per second/ {q=$4} /Average Latency/ {la=$4*1e6}
    /Response codes/ {$1="";$2="";rc=$0}
    END { printf "%-26s %9.0f %9.0f %9.2f %7.0f%% %6d  %s\n", r, q, la, c ? t/hz/(c/1e6) : 0, t/hz/l*100, lo, rc }'
}
row() { # name host port pid ecs?
  local m ms=$M; [ "$M" = both ] && ms="one wild"
  echo "# $1 www: $(check "$2" "$3" www.bench.test)  wild: $(check "$2" "$3" h7.geo.bench.test)"
  for m in $ms; do
    perf "$1/$m" "$2" "$3" "$4" "$D/q.$m"
    [ $ECS = 1 ] && [ "$5" = 1 ] && perf "$1/$m+ecs" "$2" "$3" "$4" "$D/q.$m" -E "$(ehex "${NETS[1]}")"
  done
}
printf '%-26s %9s %9s %9s %8s %6s  %s\n' "server/names" qps lat_us cpu_s/Mq cpu lost rcodes
port=$BASEPORT
for _ in $(seq "$TIMES"); do
  for w in perto nsd knot_static knot gdnsd pdns_geo pdns_lua bind coredns; do
    [ -n "$ONLY" ] && [[ " $ONLY " != *" $w "* ]] && continue
    case $w in
      perto) x=go ;; nsd) x=nsd ;; knot*) x=knotd ;; gdnsd) x=gdnsd ;; pdns*) x=pdns_server ;; bind) x=named ;; *) x=$COREDNS ;;
    esac
    command -v "${x:-nothing-here}" >/dev/null || { echo "# $w: not installed"; continue; }
    port=$((port + 1)) e=1
    case $w in nsd | knot_static | bind) e=0 ;; esac
    start_$w $port
    for _ in $(seq 100); do
      [ -n "$(ask 127.0.0.1 $port www.bench.test A +answer)" ] && break
      kill -0 "$PID" 2>/dev/null || break
      sleep 0.1
    done
    if ! kill -0 "$PID" 2>/dev/null; then echo "# $w did not start:"; tail -5 "$D/log"; PID=""; continue; fi
    row $w 127.0.0.1 $port "$PID" $e
    stop
  done
done
