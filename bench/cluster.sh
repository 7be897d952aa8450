#!/bin/bash
# Measures three brokers that keep sessions together, on one machine: one JSON line for each scenario and round.
#   bench/cluster.sh [-r ROUNDS] [-s "live durable_q1 ..."] [-o OUT.jsonl]
# live        QoS 0, 256 bytes, 50 publishers at one node, 50 subscribers at another: CPU of these two
# live_q1     the same with QoS 1
# durable_q1  QoS 1 of 100 publishers at one node for 100 sessions that are away, fsync on a majority: CPU of all three
# paced_RATE  QoS 1 of 50 publishers at one node for 50 kept sessions whose clients are at another, RATE messages/s
# connects    CONNECT without a clean start and DISCONNECT of 1,000 clients at once, each committed
# one_down, catching_up   durable_q1 while one node is dead, and from the moment that it is started again
# Every scenario gets fresh brokers with empty folders. Needs bash, curl and mqload; ends only what it started.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
TARGET=$(dirname "$HERE")/target
MQLOAD=${MQLOAD:-$HERE/mqload/target/release/mqload} FULMAR=${FULMAR:-$TARGET/release/fulmar-broker}
RUN=${RUN:-$TARGET/bench-cluster}
ROUNDS=3 SCENARIOS="live live_q1 durable_q1 paced_10000 paced_20000 connects one_down catching_up" OUT=""
while getopts r:s:o: option; do
  case $option in r) ROUNDS=$OPTARG ;; s) SCENARIOS=$OPTARG ;; o) OUT=$OPTARG ;; *) exit 2 ;; esac
done
OUT=${OUT:-$RUN/results.jsonl}
ulimit -n "$(ulimit -Hn)"
mkdir -p "$RUN"
PEERS=127.0.0.1:24240,127.0.0.1:24241,127.0.0.1:24242
DIR="" PIDS=()

# Starts node $1 on its folder.
start() {
  "$FULMAR" --config "$RUN/users/broker.yaml" --name "node-$1" --listen "mqtt://127.0.0.1:$((24200 + $1))" \
    --http "127.0.0.1:$((24220 + $1))" --cluster-listen "127.0.0.1:$((24240 + $1))" --peers "$PEERS" \
    --data-dir "$DIR/$1" --threads 1 --set limits.queuedMessages=1000000 --set limits.queuedBytes=1000000000 \
    --set limits.queuedBytesTotal=4000000000 >> "$DIR/$1.log" 2>&1 &
  PIDS[$1]=$!
  disown $!
}
# Ends node $1 without a word to it.
kill_node() {
  kill -9 "${PIDS[$1]}"
  while kill -0 "${PIDS[$1]}" 2> /dev/null; do sleep 0.05; done
}
ready() { until curl -sf "127.0.0.1:$((24220 + $1))/readyz" > /dev/null; do kill -0 "${PIDS[$1]}" || exit 1; sleep 0.1; done; }
# Until somebody answers for every shard again.
led_by_others() {
  until [ "$(curl -s 127.0.0.1:2422{0,1}/metrics | awk '/^fulmar_store_leaders /{sum += $2} END{print sum}')" = 12 ]; do sleep 0.1; done
}
end() {
  local number
  for number in "${!PIDS[@]}"; do kill_node "$number" 2> /dev/null; done
  PIDS=()
  rm -rf "$DIR"
}
trap end EXIT

load() { "$MQLOAD" "$@" --user bench --pass bench; }
pids() { local number; for number in "$@"; do echo "--pid ${PIDS[$number]}"; done; }
# Persistent sessions of absent clients, filled through node 0 and read there.
durable() { load offline -s 100 -m "${MESSAGES:-1000}" --pubs 100 --addr 127.0.0.1:24200 --drain 12 "$@"; }

measure() {
  case $1 in
    live) load pubsub -n 50 --qos 0 --payload 256 --warmup 1 --secs 3 --addr 127.0.0.1:24201 --pub-addr 127.0.0.1:24200 $(pids 0 1) ;;
    live_q1) load pubsub -n 50 --qos 1 --payload 256 --warmup 1 --secs 3 --addr 127.0.0.1:24201 --pub-addr 127.0.0.1:24200 $(pids 0 1) ;;
    durable_q1) durable $(pids 0 1 2) ;;
    paced_*) load pubsub -n 50 --qos 1 --payload 256 --persistent --rate "${1#paced_}" --warmup 1 --secs 5 --addr 127.0.0.1:24201 --pub-addr 127.0.0.1:24200 $(pids 0 1 2) ;;
    connects) load storm --persistent -n 1000 --secs 5 --addr 127.0.0.1:24200 $(pids 0 1 2) ;;
    one_down) kill_node 2; led_by_others; durable $(pids 0 1) ;;
    catching_up)
      kill_node 2; led_by_others; durable $(pids 0 1) > /dev/null
      start 2; durable --id again --prefix again/site/area $(pids 0 1 2) ;;
    *) echo "cluster.sh: no scenario $1" >&2; exit 2 ;;
  esac
}

"$HERE/users.sh" "$RUN/users" bench bench > /dev/null
for round in $(seq "$ROUNDS"); do
  for scenario in $SCENARIOS; do
    DIR=$(mktemp -d "$RUN/run.XXXXXX") PIDS=()
    for number in 0 1 2; do start "$number"; done
    for number in 0 1 2; do ready "$number"; done
    measure "$scenario" > "$DIR/result" || exit 1
    line=$(tail -n 1 "$DIR/result")
    echo "{\"case\":\"$scenario\",\"round\":$round,\"load\":$(cut -d' ' -f1 /proc/loadavg),${line#\{}" | tee -a "$OUT"
    end
  done
done
