//! A proxy with an admin page, and one who asks it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tollgate_sidecar::config::{Admin, Config, Key, KeyPart, Limit};
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, Message, Peer, proxy};

pub(crate) struct Desk {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
    /// How it is called in `Host`.
    pub(crate) host: String,
}

impl Desk {
    /// With an admin page on a free port.
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let echo = Echo::start();
        let proxy = proxy(echo.address, |config| {
            config.admin = Some(Admin::Tcp("127.0.0.1:0".parse().unwrap()));
            change(config);
        });
        let Some(Admin::Tcp(address)) = proxy.admin() else { panic!("it is served") };
        let address = *address;
        Self { proxy, address, host: address.to_string() }
    }

    /// Asks with these fields besides `Host`.
    pub(crate) fn ask(&self, line: &str, fields: &[(&str, &str)], body: &str) -> Message {
        let mut request = format!("{line} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| *name == "host") {
            let _ = write!(request, "host: {}\r\n", self.host);
        }
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(request, "content-length: {}\r\n", body.len());
        }
        let _ = write!(request, "\r\n{body}");
        Peer::connect(self.address).ask(request)
    }

    /// The same, once it is not too much.
    fn ask_patiently(&self, line: &str, fields: &[(&str, &str)], body: &str) -> Message {
        loop {
            let answer = self.ask(line, fields, body);
            if answer.status() != 429 {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn get(&self, path: &str) -> Message {
        self.ask_patiently(&format!("GET {path}"), &[], "")
    }

    pub(crate) fn stats(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/stats").body()).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.stats()["token"].as_str().unwrap().to_owned()
    }

    /// Sends a form as the page does.
    pub(crate) fn post(&self, path: &str, form: &str) -> Message {
        let form = format!("{form}&token={}", self.token());
        let origin = format!("http://{}", self.host);
        let fields = [("origin", &*origin), ("content-type", "application/x-www-form-urlencoded")];
        self.ask_patiently(&format!("POST {path}"), &fields, &form)
    }

    /// The status of a request through the proxy with these fields.
    pub(crate) fn through(&self, fields: &str) -> u16 {
        Peer::connect(self.proxy.address()).ask(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).status()
    }
}

pub(crate) fn limit(name: &str, policy: &str, key: &[KeyPart]) -> Limit {
    let mut limit = Limit::new(name, policy.parse().unwrap());
    limit.key = Key::new(key.to_vec()).unwrap();
    limit
}

pub(crate) fn header(name: &str) -> KeyPart {
    KeyPart::Header(name.parse().unwrap())
}
