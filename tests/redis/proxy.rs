//! A network that can be made bad: what goes between a client and a server goes through here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Debug, Default)]
struct Weather {
    /// Nothing goes through, and nobody is told.
    is_cut: AtomicBool,
    /// Answers come so much later.
    delay_ms: AtomicU64,
    /// Something else than an answer comes instead of it.
    is_garbled: AtomicBool,
    /// How many commands have gone to the server.
    commands: AtomicU64,
    /// Where new connections lead.
    server: Mutex<Option<SocketAddr>>,
    /// How often the connections of the time were lost without anybody being told.
    lost: AtomicU64,
    /// The connections are closed.
    is_closed: AtomicBool,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<Weather>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(Weather { server: Mutex::new(Some(server)), ..Weather::default() });
        let shared = weather.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is_closed.load(SeqCst) {
                    continue;
                }
                let server = shared.server.lock().unwrap().expect("it is set from the start");
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (there, back) = (shared.clone(), shared.clone());
                thread::spawn(move || pump(client, server, &there, true));
                thread::spawn(move || pump(server2, client2, &back, false));
            }
        });
        Self { address, weather }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where new connections lead from now on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.weather.server.lock().unwrap() = Some(server);
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.weather.is_cut.store(cut, SeqCst);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.delay_ms.store(delay.as_millis() as u64, SeqCst);
    }

    pub(crate) fn garble(&self, garble: bool) {
        self.weather.is_garbled.store(garble, SeqCst);
    }

    /// Loses all connections, and tells nobody. New ones are fine.
    pub(crate) fn lose_silently(&self) {
        self.weather.lost.fetch_add(1, SeqCst);
    }

    /// Closes all connections, and each new one.
    pub(crate) fn close(&self, close: bool) {
        self.weather.is_closed.store(close, SeqCst);
    }

    /// How many calls of the script have gone to the server.
    pub(crate) fn scripts(&self) -> u64 {
        self.weather.commands.load(SeqCst)
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, weather: &Weather, is_question: bool) {
    from.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut bytes = [0; 1 << 16];
    let lost = weather.lost.load(SeqCst);
    loop {
        if weather.is_closed.load(SeqCst) {
            break;
        }
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if weather.lost.load(SeqCst) != lost {
            continue;
        }
        while weather.is_cut.load(SeqCst) && !weather.is_closed.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        if is_question {
            let scripts = bytes[..read].windows(7).filter(|word| *word == b"EVALSHA").count();
            weather.commands.fetch_add(scripts as u64, SeqCst);
        } else {
            thread::sleep(Duration::from_millis(weather.delay_ms.load(SeqCst)));
            if weather.is_garbled.load(SeqCst) {
                let _ = to.write_all(b"\x16\x03\x01 HTTP/1.1 400 Bad Request\r\n\r\n");
                continue;
            }
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
