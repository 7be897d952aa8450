//! A client's side of TLS.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Wire, tcp};

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Wire for Tls {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// A TLS connection after its handshake, which checks chain and name.
pub fn shake_hands(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Tls> {
    let name = ServerName::try_from(name.to_owned()).expect("a DNS name");
    let connection = ClientConnection::new(config.clone(), name).expect("a configuration of our own");
    let mut tls = StreamOwned::new(connection, tcp(address));
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}
