"""FROZEN: the yardstick of the ingest benchmark. Do not change it; a test holds its hash.

What most people write to bring MQTT messages into InfluxDB: paho's on_message, json, Point, and
influxdb-client's batching WriteApi with its own defaults. Nothing survives a crash of it.
"""

import json
import sys

import paho.mqtt.client as mqtt
from influxdb_client import InfluxDBClient, Point

broker_port, influx_url = int(sys.argv[1]), sys.argv[2]

influx = InfluxDBClient(url=influx_url, token="token", org="org", enable_gzip=True)
write_api = influx.write_api()


def on_connect(client, userdata, flags, reason_code, properties):
    client.subscribe("devices/+/telemetry", qos=1)


def on_message(client, userdata, message):
    device = message.topic.split("/")[1]
    values = json.loads(message.payload)
    point = Point(device)
    for key, value in values.items():
        point = point.field(key, float(value))
    write_api.write(bucket="bucket", record=point)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="usual-script")
client.on_connect = on_connect
client.on_message = on_message
client.connect("127.0.0.1", broker_port)
print("ready", flush=True)
try:
    client.loop_forever()
except KeyboardInterrupt:
    write_api.close()
