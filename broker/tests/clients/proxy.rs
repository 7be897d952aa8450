//! A way to a broker that can break: connections through it are reset, or turned away for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// See the [module](self). It goes on until the process ends.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_closed: AtomicBool,
    /// Both sides of the connections that are or were there.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn before(broker: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.connect(&client, broker);
            }
        });
        Proxy { address, state }
    }

    /// Resets every connection. Bytes on their way are lost.
    pub fn cut(&self) {
        for socket in self.state.sockets().drain(..) {
            // With no time to linger, the close is a reset.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts, and turns new connections away until [`Self::open`].
    pub fn close(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn open(&self) {
        self.state.is_closed.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.sockets.lock().expect("nobody panics with the list")
    }

    fn connect(&self, client: &TcpStream, broker: SocketAddr) {
        let mut sockets = self.sockets();
        // Looked at under the lock: whoever closes the way cuts all that came before.
        if self.is_closed.load(Ordering::SeqCst) {
            return;
        }
        let server = TcpStream::connect(broker).expect("the broker listens");
        for (from, to) in [(client, &server), (&server, client)] {
            let copy = |socket: &TcpStream| socket.try_clone().expect("copy a descriptor");
            sockets.push(copy(from));
            let (from, to) = (copy(from), copy(to));
            std::thread::spawn(move || pass_on(from, to));
        }
    }
}

/// Until either side ends.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
