//! A broker's process on loopback, with a port for each version of MQTT. It ends with its value.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fulmar_codec::Version;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Broker {
    child: Child,
    folder: PathBuf,
    v4: SocketAddr,
    v5: SocketAddr,
}

impl Broker {
    pub(crate) fn fulmar(program: &Path) -> Result<Broker> {
        let ports = free_ports()?;
        let mut command = Command::new(program);
        for port in ports {
            command.args(["--listen", &format!("mqtt://{port}")]);
        }
        command.args(["--set", "limits.subscriptionsPerClient=100000"]);
        Broker::start(command, ports, folder()?)
    }

    /// rumqttd has a listener for each version.
    pub(crate) fn rumqttd() -> Result<Broker> {
        let ports = free_ports()?;
        let folder = folder()?;
        let server = |version: &str, port: SocketAddr| {
            format!(
                "[{version}.1]\nname = \"{version}\"\nlisten = \"{port}\"\nnext_connection_delay_ms = 0\n\
                 [{version}.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 262144\n\
                 max_inflight_count = 100\ndynamic_filters = true\n"
            )
        };
        let text = format!(
            "id = 0\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 200\n\
             max_segment_size = 104857600\nmax_segment_count = 10\n{}{}",
            server("v4", ports[0]),
            server("v5", ports[1]),
        );
        let file = folder.join("rumqttd.toml");
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let program = std::env::current_exe().context("find this program")?.with_file_name("rumqttd");
        let mut command = Command::new(program);
        command.arg(file);
        Broker::start(command, ports, folder)
    }

    pub(crate) fn address(&self, version: Version) -> SocketAddr {
        match version {
            Version::V311 => self.v4,
            Version::V5 => self.v5,
        }
    }

    fn start(mut command: Command, [v4, v5]: [SocketAddr; 2], folder: PathBuf) -> Result<Broker> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let broker = Broker { child, folder, v4, v5 };
        for address in [v4, v5] {
            let end = Instant::now() + PATIENCE;
            while TcpStream::connect(address).is_err() {
                if Instant::now() > end {
                    bail!("{:?} does not listen on {address}", command.get_program());
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_ports() -> Result<[SocketAddr; 2]> {
    // Both at once, so that they differ.
    let bind = || TcpListener::bind("127.0.0.1:0").context("find a free port");
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}

fn folder() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("fulmar-peers-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}
