//! MQTT for attackers and those beside them: whole packets into a socket, and their beginnings out of it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use fulmar_codec::{
    Connect, ForwardProperties, PacketId, PublishHead, QoS, SubscribeFilter, SubscriptionOptions, Version,
    encode_connect, encode_publish, encode_subscribe,
};
use socket2::{Domain, Protocol, Socket, Type};

/// A socket from one of many addresses, because one has too few ports for so many connections. A small buffer leaves the
/// broker with what is not read.
pub fn dial(target: SocketAddr, number: u32, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 200).unwrap_or_default() + 1);
    socket.bind(&SocketAddr::new(from.into(), 0).into())?;
    socket.connect(&target.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

pub fn connect(client_id: &str, session_expiry: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_connect(&mut bytes, &Connect { session_expiry, ..Connect::new(Version::V5, client_id) });
    bytes
}

pub fn subscribe(filters: &[String], qos: QoS) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters: Vec<_> = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let mut bytes = Vec::new();
    encode_subscribe(&mut bytes, Version::V5, PacketId::MIN, None, &filters);
    bytes
}

pub fn publish(topic: &str, payload: &[u8], qos: QoS, retain: bool, packet_id: u16) -> Vec<u8> {
    let packet_id = PacketId::new(packet_id).filter(|_| qos != QoS::AtMostOnce);
    let head = PublishHead { qos, retain, packet_id, ..PublishHead::default() };
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, payload);
    bytes
}

/// A connected client: the broker has said yes.
pub fn client(target: SocketAddr, number: u32, client_id: &str, session_expiry: u32) -> io::Result<TcpStream> {
    let mut stream = dial(target, number, None)?;
    stream.write_all(&connect(client_id, session_expiry))?;
    let (first, body) = packet(&mut stream)?;
    if first != 0x20 || body.get(1) != Some(&0) {
        return Err(io::Error::other(format!("found {first:#04x} {body:02x?}, wanted CONNACK with success")));
    }
    Ok(stream)
}

/// The next packet: its first byte, and what comes behind its length.
pub fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let (first, mut length, mut shift) = (byte[0], 0_usize, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}
