// A client of Eclipse Paho for Go that does what it is told on standard input and tells what happens to it on standard
// output; see ../README.md. MQTT 3.1.1 is paho.mqtt.golang, MQTT 5.0 is paho.golang's autopaho.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type settings struct {
	Host    string
	Port    int
	Version int
	Id      string
	Clean   bool
	Will    string
}

type order struct {
	Do     string
	Topic  string
	Qos    byte
	Retain bool
	Text   string
	Size   int
}

type event struct {
	Event  string `json:"event"`
	Topic  string `json:"topic,omitempty"`
	Text   string `json:"text,omitempty"`
	Size   int    `json:"size"`
	Sum    int    `json:"sum"`
	Qos    byte   `json:"qos"`
	Retain bool   `json:"retain"`
}

var output sync.Mutex

func tell(what event) {
	line, err := json.Marshal(what)
	check(err)
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(line))
}

func message(topic string, payload []byte, qos byte, retain bool) {
	sum := 0
	for _, value := range payload {
		sum += int(value)
	}
	tell(event{"message", topic, string(payload[:min(len(payload), 100)]), len(payload), sum, qos, retain})
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A client of either version. It connects again by itself.
type client interface {
	subscribe(filter string, qos byte) error
	publish(topic string, payload []byte, qos byte, retain bool)
	end()
}

type old struct{ client mqtt.Client }

func startOld(with settings) client {
	options := mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://%s:%d", with.Host, with.Port))
	options.SetClientID(with.Id).SetCleanSession(with.Clean).SetProtocolVersion(4)
	options.SetAutoReconnect(true).SetConnectRetry(true)
	options.SetConnectRetryInterval(100 * time.Millisecond).SetMaxReconnectInterval(500 * time.Millisecond)
	if with.Will != "" {
		options.SetWill(with.Will, with.Id, 1, false)
	}
	options.SetOnConnectHandler(func(mqtt.Client) { tell(event{Event: "connected"}) })
	options.SetConnectionLostHandler(func(mqtt.Client, error) { tell(event{Event: "lost"}) })
	options.SetDefaultPublishHandler(func(_ mqtt.Client, got mqtt.Message) {
		message(got.Topic(), got.Payload(), got.Qos(), got.Retained())
	})
	client := mqtt.NewClient(options)
	token := client.Connect()
	token.Wait()
	check(token.Error())
	return old{client}
}

func (c old) subscribe(filter string, qos byte) error {
	token := c.client.Subscribe(filter, qos, nil)
	token.Wait()
	return token.Error()
}

func (c old) publish(topic string, payload []byte, qos byte, retain bool) {
	c.client.Publish(topic, qos, retain, payload)
}

func (c old) end() { c.client.Disconnect(1000) }

type five struct{ manager *autopaho.ConnectionManager }

func startFive(with settings) client {
	server, err := url.Parse(fmt.Sprintf("mqtt://%s:%d", with.Host, with.Port))
	check(err)
	expiry := uint32(0)
	if !with.Clean {
		expiry = 600
	}
	config := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{server},
		KeepAlive:                     60,
		CleanStartOnInitialConnection: with.Clean,
		SessionExpiryInterval:         expiry,
		ReconnectBackoff:              func(int) time.Duration { return 100 * time.Millisecond },
		Queue:                         memory.New(),
		OnConnectionUp: func(*autopaho.ConnectionManager, *paho.Connack) {
			tell(event{Event: "connected"})
		},
		OnConnectionDown: func() bool {
			tell(event{Event: "lost"})
			return true
		},
		ClientConfig: paho.ClientConfig{
			ClientID: with.Id,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(got paho.PublishReceived) (bool, error) {
				packet := got.Packet
				message(packet.Topic, packet.Payload, packet.QoS, packet.Retain)
				return true, nil
			}},
		},
	}
	if with.Will != "" {
		config.WillMessage = &paho.WillMessage{Topic: with.Will, Payload: []byte(with.Id), QoS: 1}
	}
	manager, err := autopaho.NewConnection(context.Background(), config)
	check(err)
	check(manager.AwaitConnection(context.Background()))
	return five{manager}
}

func (c five) subscribe(filter string, qos byte) error {
	options := []paho.SubscribeOptions{{Topic: filter, QoS: qos}}
	_, err := c.manager.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: options})
	return err
}

func (c five) publish(topic string, payload []byte, qos byte, retain bool) {
	publish := &paho.Publish{Topic: topic, Payload: payload, QoS: qos, Retain: retain}
	if qos == 0 {
		// What the client refuses to send is lost as QoS 0 may be.
		_, _ = c.manager.Publish(context.Background(), publish)
		return
	}
	check(c.manager.PublishViaQueue(context.Background(), &autopaho.QueuePublish{Publish: publish}))
}

func (c five) end() { check(c.manager.Disconnect(context.Background())) }

func main() {
	var with settings
	check(json.Unmarshal([]byte(os.Args[1]), &with))
	start := startOld
	if with.Version == 5 {
		start = startFive
	}
	client := start(with)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var order order
		check(json.Unmarshal(orders.Bytes(), &order))
		switch order.Do {
		case "subscribe":
			check(client.subscribe(order.Topic, order.Qos))
			tell(event{Event: "subscribed"})
		case "publish":
			padding := strings.Repeat("x", max(0, order.Size-len(order.Text)))
			client.publish(order.Topic, []byte(order.Text+padding), order.Qos, order.Retain)
		}
	}
	client.end()
}
