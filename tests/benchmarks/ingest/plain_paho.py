"""Receiving and acknowledging QoS 1 with paho as it is, and nothing else."""

import sys

import paho.mqtt.client as mqtt

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="plain-paho")
client.on_connect = lambda client, *_: client.subscribe("devices/+/telemetry", qos=1)
client.on_message = lambda client, userdata, message: None
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
