// A client of MQTT.js that does what it is told on standard input and tells what happens to it on standard output; see
// ../README.md.
'use strict'

const mqtt = require('mqtt')
const readline = require('node:readline')

const tell = (event, details) => process.stdout.write(JSON.stringify({ event, ...details }) + '\n')

const { host, port, version, id, clean, will } = JSON.parse(process.argv[2])
const client = mqtt.connect({
  host,
  port,
  protocolVersion: version,
  clientId: id,
  clean,
  reconnectPeriod: 100,
  resubscribe: false,
  ...(version === 5 ? { properties: { sessionExpiryInterval: clean ? 0 : 600 } } : {}),
  ...(will ? { will: { topic: will, payload: id, qos: 1, retain: false } } : {})
})
client.on('connect', () => tell('connected'))
client.on('close', () => tell('lost'))
// What it refuses to send is told here; connections that fail it tries again by itself.
client.on('error', (error) => process.stderr.write(error.message + '\n'))
client.on('message', (topic, payload, { qos, retain }) => {
  const sum = payload.reduce((sum, value) => sum + value, 0)
  tell('message', { topic, text: payload.toString('utf8', 0, 100), size: payload.length, sum, qos, retain })
})

const orders = readline.createInterface({ input: process.stdin })
orders.on('line', (line) => {
  const order = JSON.parse(line)
  const { topic, qos, retain } = order
  if (order.do === 'subscribe') {
    client.subscribe(topic, { qos }, (error) => tell(error ? 'refused' : 'subscribed'))
  } else {
    client.publish(topic, order.text.padEnd(order.size, 'x'), { qos, retain })
  }
})
orders.on('close', () => client.end())
