"""A client of Eclipse Paho for Python that does what it is told on standard input and tells what happens to it on
standard output; see ../README.md."""

import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def tell(event, **details):
    # One write, so that lines of two threads do not mix.
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def tell_message(_client, _data, got):
    text = got.payload[:100].decode()
    tell("message", topic=got.topic, text=text, size=len(got.payload), sum=sum(got.payload), qos=got.qos,
         retain=bool(got.retain))


def start(host, port, version, id, clean, will):
    if version == 5:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=id, protocol=mqtt.MQTTv5)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean else 600
        terms = {"properties": properties, "clean_start": mqtt.MQTT_CLEAN_START_FIRST_ONLY if clean else False}
    else:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=id, clean_session=clean)
        terms = {}
    if will:
        client.will_set(will, id, qos=1)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: tell("refused" if reason.is_failure else "connected")
    client.on_disconnect = lambda *_: tell("lost")
    client.on_subscribe = lambda *_: tell("subscribed")
    client.on_message = tell_message
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.connect(host, port, **terms)
    client.loop_start()
    return client


def main():
    client = start(**json.loads(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        topic, qos = order["topic"], order["qos"]
        if order["do"] == "subscribe":
            client.subscribe(topic, qos)
        else:
            client.publish(topic, order["text"].ljust(order["size"], "x"), qos, order["retain"])
    client.disconnect()
    client.loop_stop()


main()
