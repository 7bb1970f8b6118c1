//! [`Clients`]: who is connected, and how often.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollgate::http::ClientIp;

/// Who is connected, and how often. Clones share it. A client is what limits count by: an IPv6 network, since one has many addresses.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    free: Arc<Semaphore>,
    each: usize,
    counted: ClientIp,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place among the connections. Dropped, it is free.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    _permit: OwnedSemaphorePermit,
    client: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Clients {
    /// At most so many connections in all, and so many of each client.
    pub(super) fn new(in_all: usize, each: usize) -> Self {
        let free = Arc::new(Semaphore::new(in_all.clamp(1, Semaphore::MAX_PERMITS)));
        Self { free, each, counted: ClientIp::peer(), by_address: Arc::default() }
    }

    /// Until there is room for one more.
    pub(super) async fn permit(&self) -> io::Result<OwnedSemaphorePermit> {
        self.free.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// `None`: this client has as many as it may.
    pub(super) fn seat(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<ConnectionPlace> {
        let client = self.counted.key_of(address);
        let mut by_address = self.by_address.lock().expect("nothing panics under it");
        let count = by_address.entry(client).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(ConnectionPlace { _permit: permit, client, by_address: self.by_address.clone() })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().expect("nothing panics under it");
        if let Some(count) = by_address.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client() {
        let clients = Clients::new(10, 1);
        let seat = |address: &str| {
            let permit = clients.free.clone().try_acquire_owned().unwrap();
            clients.seat(permit, address.parse().unwrap())
        };
        let first = seat("2001:db8::1");
        assert!(first.is_some() && seat("2001:db8::2").is_none() && seat("2001:db8:0:1::1").is_some());
        let mapped = seat("::ffff:192.0.2.7");
        assert!(mapped.is_some() && seat("192.0.2.7").is_none() && seat("192.0.2.8").is_some());
        drop(first);
        assert!(seat("2001:db8::2").is_some());
        assert_eq!(clients.free.available_permits(), 9, "what was refused or is gone holds no place");
    }
}
