//! Somebody on the cluster port who speaks the greeting and then does what the test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fulmar_cluster::NodeId;
use fulmar_cluster::hello::{Greeting, Hello, Purpose, SplitGreeting, encode_greeting, split_greeting};
use fulmar_cluster::letters::Channel;
use fulmar_store::Node;

pub(super) fn hello(node: Node, channel: Channel) -> Hello {
    Hello {
        feature_level: 1,
        cluster: String::new(),
        node: NodeId(node.id),
        incarnation: node.incarnation,
        nonce: node.incarnation,
        name: "stranger".to_owned(),
        threads: 1,
        purpose: Purpose::Letters(channel),
        epoch: 1,
        generation: 0,
        clock: 0,
    }
}

/// Greets, and reads what the node says to it.
pub(super) fn greet(address: SocketAddr, hello: &Hello) -> (TcpStream, Greeting) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    encode_greeting(&mut bytes, &Greeting::Hello(hello.clone()));
    stream.write_all(&bytes).unwrap();
    let answer = read_greeting(&mut stream);
    (stream, answer)
}

/// Reads a greeting, and nothing that follows it.
fn read_greeting(stream: &mut TcpStream) -> Greeting {
    let mut bytes = Vec::new();
    loop {
        match split_greeting(&bytes).unwrap() {
            SplitGreeting::Whole { greeting, .. } => return greeting,
            SplitGreeting::Incomplete => {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                bytes.extend(byte);
            }
        }
    }
}

/// Whether the other side closes it, whatever it says before.
pub(super) fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
