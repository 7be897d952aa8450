# Fulmar with one data thread, whatever it is pinned to.
. "$HERE/brokers.d/ours.sh"
run() { fulmar --listen "mqtt://127.0.0.1:$PORT" --threads 1; }
