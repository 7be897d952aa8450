#!/bin/bash
# Runs the comparison table: brokers x scenarios x rounds, interleaved, one JSON line each.
#   bench.sh table  [-b "null ours mosq20"] [-r ROUNDS] [-s "p2p_q0 ..."] [-m pinned|free] [-o OUT.jsonl]
#   bench.sh restart NAME DIR MASK     (hook: kill -9 and start again on the same directory)
#   bench.sh versions [-b ...]
# Also to be had: rumqttd, nats. Brokers are described in brokers.d/NAME.sh. Needs only bash, taskset and mqload; ends only what it started.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
TARGET=$(dirname "$HERE")/target
export MQLOAD=${MQLOAD:-$HERE/mqload/target/release/mqload} FULMAR=${FULMAR:-$TARGET/release/fulmar-broker}
RUN=${RUN:-$TARGET/bench}
# Where brokers of others were built (make bench PEERS="rumqttd nats").
PEERS_TARGET=${PEERS_TARGET:-$HERE/peers/target}
ulimit -n "$(ulimit -Hn)"

cores() { [ "$1" = "${1#*,}" ] && echo 1 || echo 2; }
port_of() { (. "$HERE/brokers.d/$1.sh"; echo "$PORT"); }
skips() { (SKIP=""; . "$HERE/brokers.d/$1.sh"; echo " $SKIP "); }
load_of() { (LOAD=""; . "$HERE/brokers.d/$1.sh"; echo "$LOAD"); }
metrics_of() { (METRICS=""; . "$HERE/brokers.d/$1.sh"; echo "$METRICS"); }
companions_of() { (COMPANIONS=0; . "$HERE/brokers.d/$1.sh"; echo "$COMPANIONS"); }
prepare() { (prepare() { :; }; . "$HERE/brokers.d/$1.sh"; prepare > /dev/null); }

# Reads http://127.0.0.1:$1/metrics every 5 seconds, as a monitoring would, until it is killed.
scrape() {
  taskset -cp "$GMASK" $BASHPID > /dev/null
  while true; do
    { exec 3<> "/dev/tcp/127.0.0.1/$1" && printf 'GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n' >&3 &&
      cat <&3 > "$2/metrics"; exec 3>&-; } 2> /dev/null
    sleep 5
  done
}

# Starts broker $1 in directory $2 on cores $3 (durable: $4); its pid goes to $2/pid. Fails when the port stays closed.
start() {
  local name=$1 dir=$2 mask=$3 durable=$4 port number
  port=$(port_of "$name")
  if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
    echo "bench: port $port of $name is taken: another benchmark runs, and each would measure the other's clients" >&2
    return 1
  fi
  mkdir -p "$dir"
  : > "$dir/others"
  # Processes that the broker needs beside it and that are not measured.
  for number in $(seq "$(companions_of "$name")"); do
    (
      cd "$dir"
      export DIR=$dir NCPU=$(cores "$mask")
      . "$HERE/brokers.d/$name.sh"
      taskset -cp "$mask" $BASHPID > /dev/null
      companion "$number" < /dev/null >> "$dir/stdout.$number" 2>&1
    ) &
    echo $! >> "$dir/others"
    disown $!
  done
  (
    cd "$dir"
    export DIR=$dir NCPU=$(cores "$mask") DURABLE=$durable
    . "$HERE/brokers.d/$name.sh"
    taskset -cp "$mask" $BASHPID > /dev/null
    run < /dev/null >> "$dir/stdout" 2>&1
  ) &
  echo $! > "$dir/pid"
  disown $!
  echo "$durable" > "$dir/durable"
  for _ in $(seq 300); do
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && { sleep 0.3; return 0; }
    kill -0 "$(cat "$dir/pid")" 2> /dev/null || break
    sleep 0.2
  done
  echo "bench: $name did not start, see $dir" >&2
  return 1
}

descendants() { local c; for c in $(pgrep -P "$1"); do echo "$c"; descendants "$c"; done; }

# Ends the broker of directory $1 and its children; $2 = signal.
stop() {
  local pid kids
  pid=$(cat "$1/pid") || return
  kids="$(descendants "$pid") $(cat "$1/others" 2> /dev/null)"
  kill -"${2:-TERM}" $pid $kids 2> /dev/null
  for _ in $(seq 50); do
    local left=0 p
    for p in $pid $kids; do kill -0 "$p" 2> /dev/null && left=1; done
    [ $left = 0 ] && break
    sleep 0.1
  done
  kill -9 $pid $kids 2> /dev/null
  true
}

# Options of scenario $1. Closed loop unless a rate is given.
T="--secs ${SECS:-3} --warmup 0.7"
options() {
  case $1 in
    p2p_q0) echo "pubsub -n 50 --qos 0 $T" ;;
    p2p_q1) echo "pubsub -n 50 --qos 1 $T" ;;
    p2p_q2) echo "pubsub -n 50 --qos 2 $T" ;;
    p2p_q0_256) echo "pubsub -n 50 --qos 0 --payload 256 $T" ;;
    p2p_q1_256) echo "pubsub -n 50 --qos 1 --payload 256 $T" ;;
    p2p_q1_v5) echo "pubsub -n 50 --qos 1 --v5 $T" ;;
    fanout) echo "pubsub --pattern fanout -n 1000 --qos 0 $T --window 4" ;;
    fanout_q1) echo "pubsub --pattern fanout -n 1000 --qos 1 $T --window 4" ;;
    fanin) echo "pubsub --pattern fanin -n 50 --qos 0 $T" ;;
    fanin_q1) echo "pubsub --pattern fanin -n 50 --qos 1 $T" ;;
    shared) echo "pubsub --pattern shared -n 20 --qos 0 $T" ;;
    shared_q1) echo "pubsub --pattern shared -n 20 --qos 1 $T" ;;
    lat) echo "pubsub -n 50 --qos 1 --rate 5000 $T" ;;
    lat_q0) echo "pubsub -n 50 --qos 0 --rate 5000 $T" ;;
    many) echo "pubsub -n 1000 --qos 0 --window 1 $T" ;;
    many_q1) echo "pubsub -n 1000 --qos 1 --window 1 $T" ;;
    storm) echo "storm -n 100 --secs ${SECS:-3}" ;;
    idle) echo "idle -n ${IDLE:-10000}" ;;
    setup) echo "idle -n ${IDLE:-10000} --filters 10 --hold 0" ;;
    flood) echo "pubsub -n 500 --qos 0 --rate 1000 $T" ;;
    paced_*) echo "pubsub -n $((${1#paced_} / 2)) --qos 0 --rate 15000 --secs 4 --warmup 1" ;;
    crowd_*) echo "pubsub -n $((${1#crowd_} / 2)) --qos 0 --window 1 $T" ;;
    wild) echo "wild -n ${WILD:-100000} $T" ;;
    wild_*) echo "wild -n ${1#wild_} $T" ;;
    retained) echo "retained -n ${RETAINED:-100000} --times 2" ;;
    offline | durable) echo "offline -s 100 -m 500 --drain 12 --drain-max 40" ;;
    durable_100) echo "offline -s 100 -m 1000 --pubs 100 --drain 12 --drain-max 40" ;;
    retained_durable) echo "retained -n ${RETAINED:-100000} --times 2" ;;
    midkill) echo "offline -s 100 -m 500 --at 0.5 --drain 12 --drain-max 40" ;;
    *) return 1 ;;
  esac
}
# What else a generator does meanwhile in scenario $1, at a lower priority than what is measured.
beside() {
  case $1 in
    flood) echo "pubsub --pattern fanin -n 1 --flow none --payload ${FLOOD:-256} --secs 600 --id flood --prefix flood" ;;
  esac
}
one() { # broker scenario dir round
  local extra=() wrap=() port metrics scraper="" out perf="" crowd=""
  port=$(port_of "$1") metrics=$(metrics_of "$1")
  [ -n "$metrics" ] && { scrape "$metrics" "$3" & scraper=$!; disown $!; }
  if [ -n "$(beside "$2")" ]; then
    # shellcheck disable=SC2046
    taskset -c "$GMASK" nice -n 10 "$MQLOAD" $(beside "$2") --addr 127.0.0.1:$port $(load_of "$1") ${LOAD_ARGS:-} \
      > "$3/beside" 2>&1 &
    crowd=$!
    disown $crowd
  fi
  case $2 in durable | durable_100 | midkill) extra=(--between "$0 restart $1 $3 $BMASK") ;; esac
  # PERF=1: system calls and context switches of the broker (needs perf and root; costs the broker a little).
  [ -n "${PERF:-}" ] && wrap=(perf stat -x, -e raw_syscalls:sys_enter,context-switches -o "$3/perf"
    -p "$(echo $(cat "$3/pid") $(descendants "$(cat "$3/pid")") | tr ' ' ',')" --)
  # shellcheck disable=SC2046
  out=$(timeout 150 "${wrap[@]}" taskset -c "$GMASK" "$MQLOAD" $(options "$2") --addr 127.0.0.1:$port --pid-file "$3/pid" \
    --label "$1" $(load_of "$1") ${LOAD_ARGS:-} "${extra[@]}" 2> "$3/mqload.err") || out=""
  [ -n "$crowd" ] && kill "$crowd" 2> /dev/null
  [ -n "$scraper" ] && kill $(descendants "$scraper") "$scraper" 2> /dev/null
  [ -n "$out" ] || out="{\"label\":\"$1\",\"error\":\"$(tail -c 200 "$3/mqload.err" | tr -d '"\\\n')\"}"
  [ -n "${PERF:-}" ] && perf=$(awk -F, '/sys_enter/{printf "\"syscalls\":%s,",$1} /context/{printf "\"switches\":%s,",$1}' "$3/perf")
  echo "{\"case\":\"$2\",\"mode\":\"$MODE\",\"round\":$4,$perf\"load\":$(cut -d' ' -f1 /proc/loadavg),${out#\{}" | tee -a "$OUT" | cut -c1-150
}

case ${1:-} in
  restart)
    stop "$3" KILL
    start "$2" "$3" "$4" "$(cat "$3/durable")"
    exit $?
    ;;
esac
what=${1:-table}
shift
BROKERS="null ours mosq20" ROUNDS=3 MODE=pinned OUT=""
SCEN="p2p_q0 p2p_q1 p2p_q2 p2p_q0_256 p2p_q1_256 fanout fanin shared many many_q1 lat storm idle wild retained offline durable"
while getopts b:r:s:m:o: o; do
  case $o in b) BROKERS=$OPTARG ;; r) ROUNDS=$OPTARG ;; s) SCEN=$OPTARG ;; m) MODE=$OPTARG ;; o) OUT=$OPTARG ;; *) exit 2 ;; esac
done
OUT=${OUT:-$TARGET/bench-$MODE.jsonl}
if [ "$MODE" = pinned ]; then BMASK=0 GMASK=1; else BMASK=0,1 GMASK=0,1; fi
if [ "$what" = versions ]; then
  for b in $BROKERS; do (. "$HERE/brokers.d/$b.sh"; echo "$b: $(VERSION 2>&1 | head -1)"); done
  exit 0
fi
for b in $BROKERS; do prepare "$b" || { echo "bench: $b could not be prepared" >&2; exit 1; }; done
live=""
trap '[ -z "$live" ] || stop "$live" KILL' EXIT
for round in $(seq "$ROUNDS"); do
  for s in $SCEN; do
    for b in $BROKERS; do
      case "$(skips "$b")" in *" ${s%%_*} "*) continue ;; esac
      # A fresh process each time: brokers clean up after departed clients lazily, which would colour the next scenario.
      live=$RUN/$b.$s
      rm -rf "$live"
      durable=0
      case $s in durable | durable_100 | retained_durable | midkill) durable=1 ;; esac
      export CASE=$s
      if start "$b" "$live" "$BMASK" $durable; then one "$b" "$s" "$live" "$round"; fi
      stop "$live"
      rm -rf "$live"
      live=""
    done
  done
done
