//! What clients, peers and queues may take of this node.
//!
//! With the defaults a node of up to four data threads in a cluster of three fits into a pod of 1 GiB. What follows holds
//! for all clients and peers together, whatever each of them may have, in MiB:
//!
//! | bound | MiB |
//! |---|---|
//! | `queuedBytesTotal`: messages that wait for clients or for their acknowledgement | 160 |
//! | `retainedBytes`, and a quarter for topics of deleted ones | 200 |
//! | `sessionBytesTotal`: sessions, subscriptions, wills, topic aliases of both directions | 160 |
//! | `inputBufferBytesTotal`: packets that are not whole, clients that are held back | 64 |
//! | `outputBufferBytesTotal`: what sockets do not take | 96 |
//! | `linkBufferBytes` for two peers: publishers wait above it, twice as much is never passed by publishes | 64 to 128 |
//! | TLS `handshakes`, each with a first packet of `connectPacketBytes` | 63 |
//! | for each data thread 12: output of a turn, and messages on their way to it from others | 12 to 48 |
//! | buffers and code of the process | 30 |
//! | sum | 849 to 949 |
//!
//! With a data folder come 64 for the store's log and the messages that are on their way to it, 48 for
//! `storedBytesInMemory`, and sessions and retained messages once more.
//!
//! Not in the sum is what connections take in proportion to their number, besides the kernel's buffers: less than 1 KiB
//! for a plain one, about 10 KiB for one with TLS and up to 100 KiB more while its peer sends half a record or takes
//! nothing, 24 bytes for each publish that is not acknowledged. They have what the sum leaves, which is enough for 50,000 plain ones, and what the other bounds leave
//! unused. Who serves more, or TLS clients by the ten thousand, gives the pod more memory or sets `connections`.
//!
//! A turn of the event loop may go beyond `outputBufferBytesTotal` before that is enforced at its end, by 8 MiB for each
//! data thread: a message for more receivers than that goes to the rest of them in the next turn.
//!
//! A broker that is granted less memory, by its control group (the memory limit of a container) or by the machine, lowers
//! those of these bounds that nobody chose in proportion, and says so when it starts.

use std::time::Duration;

use serde::Serialize;

/// The bounds on everything that somebody outside can make grow. Counts and bytes are per node unless a field says
/// "per connection" or "per client".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Client connections. One left at its default is lowered to what the file-descriptor limit allows.
    pub connections: u32,
    /// Client connections from one address; 0 is as many as there may be. For IPv6 the network of 64 bits counts, which
    /// is one customer's. Off, because behind a load balancer that hides them all clients share an address.
    pub connections_per_address: u32,
    /// TLS handshakes under way at one time; more wait in the listen queue.
    pub handshakes: u32,
    /// How long a new connection has until its CONNECT has arrived, TLS handshake included.
    pub connect_timeout_seconds: u32,
    /// The largest MQTT packet that is accepted, whole; MQTT 5.0 clients are told (Maximum Packet Size).
    pub packet_bytes: u32,
    /// The largest first packet of a connection, which is a CONNECT with credentials and will, if packetBytes is not
    /// smaller: what somebody may make us hold without having said who it is.
    pub connect_packet_bytes: u32,
    /// QoS 1 and 2 publishes per connection that await our acknowledgement; MQTT 5.0 clients are told (Receive Maximum).
    pub inflight: u16,
    /// QoS 1 and 2 deliveries per connection that await the client's acknowledgement, if it does not ask for fewer.
    pub outbound_inflight: u16,
    /// How long one of them may be open; 0 is for ever. Then the client is closed (Quota Exceeded), since nothing is sent
    /// again on a live connection (MQTT 5.0, 4.4), and gets it again when it is back. Half an hour, because some clients
    /// acknowledge a message when the work that it asks for is done.
    pub outbound_inflight_seconds: u32,
    /// Publishes per client and second; 0 is any number. Who sends more is not read on until its time has come, and loses
    /// nothing. A second's worth may come at once.
    pub publishes_per_second: u32,
    /// Bytes of the publishes per client and second, in the same way.
    pub publish_bytes_per_second: u64,
    /// Messages per client that wait for room in its window or for its return.
    pub queued_messages: u32,
    /// Bytes of the same.
    pub queued_bytes: u64,
    /// Bytes of the messages that the node keeps for all its clients: those that wait, and those sent to a lasting
    /// session and not acknowledged. A quarter is only for the latter, so that connected clients are served while the
    /// queues of absent ones are full. A message counts once per data thread with clients that wait for it, and about
    /// 100 bytes for each of them. Above it the oldest messages of the same client give way to a new one, or if that
    /// does not make room the new one is dropped.
    pub queued_bytes_total: u64,
    /// The same of what the store keeps, where there is a data folder: messages for its sessions, wherever they are. 0 is
    /// as much as queuedBytesTotal. More may be kept than there is memory, as far as the disk goes.
    pub stored_bytes_total: u64,
    /// How much of it is in memory; the bodies of older messages are on the disk alone. Each of them, and each place in a
    /// queue, takes some memory still.
    pub stored_bytes_in_memory: u64,
    /// Sessions, those of absent clients included.
    pub sessions: u32,
    /// Memory of all sessions with their names, subscriptions and wills, and with the topic aliases of their connections.
    /// Above it, CONNECT and SUBSCRIBE are refused, and who sets one more alias is closed (Quota Exceeded). We set none
    /// when three quarters of it are taken.
    pub session_bytes_total: u64,
    /// The longest time a session outlives its connection; 4294967295 never ends.
    pub session_expiry_seconds_max: u32,
    /// The longest keep alive; an MQTT 5.0 client that wants more is told so. 65535 leaves the choice to clients.
    pub keep_alive_seconds_max: u16,
    /// Subscriptions per client.
    pub subscriptions_per_client: u32,
    /// Filters of one SUBSCRIBE. Those behind them are refused (Quota Exceeded): the client may ask for them in another
    /// packet, and nobody waits while one of a mebibyte is gone through.
    pub subscriptions_per_packet: u32,
    /// Levels of a topic name or filter.
    pub topic_levels: u16,
    /// Bytes of a topic name or filter. The default is all that the protocol allows.
    pub topic_bytes: u16,
    /// User properties of one packet, of a will too. Above it, who sent it is refused or closed (Quota Exceeded).
    pub user_properties: u16,
    /// Bytes of a will: topic, properties and payload. Above it, CONNECT is refused (Quota Exceeded).
    pub will_bytes: u32,
    /// Topic aliases per connection that a client may set (Topic Alias Maximum).
    pub topic_aliases: u16,
    /// Topic aliases per connection that we set, for a client that keeps that many (its Topic Alias Maximum); 0 sets none.
    /// Topics of more than 256 bytes get none, and no new ones are set while memory is short.
    pub outbound_topic_aliases: u16,
    /// Retained messages.
    pub retained_messages: u32,
    /// Bytes of retained messages: topics are included, and 160 for keeping each. A quarter as much again is for the
    /// topics of those that were deleted, so that nodes that were away learn of it.
    pub retained_bytes: u64,
    /// Bytes per connection that wait for the socket; QoS 0 messages beyond it are dropped, others stay queued.
    pub output_buffer_bytes: u32,
    /// Memory of all bytes that wait for sockets, in equal shares for the data threads, each with room for two
    /// connections at least. Above it, the client that has been behind for longest is closed (Quota Exceeded).
    pub output_buffer_bytes_total: u64,
    /// Bytes per connection that one turn of the event loop takes in before others have theirs.
    pub read_budget_bytes: u32,
    /// Bytes that were received and wait: half of them for the rest of their packets, half for clients that are held
    /// back until others have taken what they sent. Each data thread has an equal share, and room for two packets at
    /// least. Above it, who has held such bytes for longest is closed; MQTT 5.0 clients are told (Quota Exceeded).
    pub input_buffer_bytes_total: u64,
    /// Bytes per link that wait for a peer, what it has not acknowledged included: each data thread has an equal part,
    /// and room for two packets at least. Publishers to a peer wait above it, and above twice as much their messages are refused.
    pub link_buffer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 100_000,
            connections_per_address: 0,
            handshakes: 1000,
            connect_timeout_seconds: 10,
            packet_bytes: 1 << 20,
            connect_packet_bytes: 64 << 10,
            inflight: 1024,
            outbound_inflight: 1024,
            outbound_inflight_seconds: 1800,
            publishes_per_second: 0,
            publish_bytes_per_second: 0,
            queued_messages: 1000,
            queued_bytes: 8 << 20,
            queued_bytes_total: 160 << 20,
            stored_bytes_total: 0,
            stored_bytes_in_memory: 48 << 20,
            sessions: 200_000,
            session_bytes_total: 160 << 20,
            session_expiry_seconds_max: 7 * 24 * 3600,
            keep_alive_seconds_max: u16::MAX,
            subscriptions_per_client: 10_000,
            subscriptions_per_packet: 1000,
            topic_levels: 128,
            topic_bytes: u16::MAX,
            user_properties: 100,
            will_bytes: 32 << 10,
            topic_aliases: 32,
            outbound_topic_aliases: 32,
            retained_messages: 500_000,
            retained_bytes: 160 << 20,
            output_buffer_bytes: 1 << 20,
            output_buffer_bytes_total: 96 << 20,
            read_budget_bytes: 256 << 10,
            input_buffer_bytes_total: 64 << 20,
            link_buffer_bytes: 32 << 20,
        }
    }
}

impl Limits {
    /// The largest first packet of a connection.
    pub fn first_packet_bytes(&self) -> u32 {
        self.connect_packet_bytes.min(self.packet_bytes)
    }

    /// What the messages may take that the store keeps for sessions.
    pub fn stored_bytes(&self) -> u64 {
        if self.stored_bytes_total == 0 { self.queued_bytes_total } else { self.stored_bytes_total }
    }

    /// What each of so many data threads may hold of either kind of received bytes that wait.
    pub fn input_buffer_bytes_per_thread(&self, threads: u16) -> u64 {
        let share = self.input_buffer_bytes_total / 2 / u64::from(threads.max(1));
        share.max(u64::from(self.packet_bytes) * 2)
    }

    /// What the sockets of each of so many data threads may leave.
    pub fn output_buffer_bytes_per_thread(&self, threads: u16) -> u64 {
        // A buffer takes up to a packet beyond its bound, and as much again when it has just grown.
        let connection = (u64::from(self.output_buffer_bytes) + u64::from(self.packet_bytes)) * 2;
        (self.output_buffer_bytes_total / u64::from(threads.max(1))).max(connection * 2)
    }

    /// What may wait for one peer on each of so many data threads.
    pub fn link_buffer_bytes_per_thread(&self, threads: u16) -> u64 {
        (self.link_buffer_bytes / u64::from(threads.max(1))).max(u64::from(self.packet_bytes) * 2)
    }

    /// How long a new connection has until its CONNECT has arrived, TLS handshake included.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_bytes_are_shared_by_the_threads_with_room_for_two_packets_each() {
        let limits = Limits { packet_bytes: 1 << 20, input_buffer_bytes_total: 64 << 20, ..Limits::default() };
        assert_eq!(
            [0, 1, 4, 16, 64].map(|threads| limits.input_buffer_bytes_per_thread(threads) >> 20),
            [32, 32, 8, 2, 2]
        );
    }

    #[test]
    fn a_link_is_shared_by_the_threads_with_room_for_two_packets_each() {
        let limits = Limits { packet_bytes: 1 << 20, link_buffer_bytes: 32 << 20, ..Limits::default() };
        assert_eq!([1, 8, 64].map(|threads| limits.link_buffer_bytes_per_thread(threads) >> 20), [32, 4, 2]);
    }
}
