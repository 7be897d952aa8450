# Fulmar with two data threads, whatever it is pinned to. Compare with ours_one.sh in mode free.
. "$HERE/brokers.d/ours.sh"
run() { fulmar --listen "mqtt://127.0.0.1:$PORT" --threads 2; }
