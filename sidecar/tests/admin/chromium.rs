//! A headless Chromium, spoken to by the DevTools protocol over a pipe: messages of JSON, each ended by a zero byte.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::{Value, json};

/// Nothing in a browser takes that long, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a browser may be.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

pub(crate) struct Chromium {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Value,
    last: u64,
    /// What has happened and nobody has asked for.
    events: Vec<Value>,
    profile: PathBuf,
}

impl Chromium {
    /// `None` where there is no browser: the test is left out, and says so. In CI, that is a failure.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let folders: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let there = NAMES
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|path| path.is_file());
        let Some(program) = there else {
            assert!(env::var_os("CI").is_none(), "there is no Chromium, and CI must not leave out {name}");
            // Not by a macro: what those print is not shown where a test passes.
            let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {name}: THERE IS NO CHROMIUM ***\n");
            return None;
        };
        let profile = env::temp_dir().join(format!("tollgate-chromium-{}-{name}", std::process::id()));
        // The browser reads commands from file 3 and writes to file 4, which a shell can make of a pipe's two ends.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"]).arg(program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
        ]);
        command.args(["--remote-debugging-pipe", "--host-resolver-rules=MAP evil.example 127.0.0.1"]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, from) = channel();
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            loop {
                let mut message = Vec::new();
                if out.read_until(0, &mut message).unwrap_or(0) == 0 {
                    break;
                }
                message.pop();
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self { child, to, from, session: Value::Null, last: 0, events: Vec::new(), profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Audits", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.from.recv_timeout(PATIENCE).expect("an answer of the browser");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// Does something that loads a page, and waits for it.
    fn loading(&mut self, act: impl FnOnce(&mut Self)) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        act(self);
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.from.recv_timeout(PATIENCE).expect("the page to be loaded");
            self.events.push(event);
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.loading(|browser| {
            browser.call("Page.navigate", json!({ "url": url }));
        });
    }

    /// What a script of the tester's own says; it is none of the page's.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.evaluate(expression).as_str().unwrap_or_default().to_owned()
    }

    fn key(&mut self, name: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let key = json!({ "type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Goes on to the next thing that has the focus, until this holds.
    pub(crate) fn tab_to(&mut self, what: &str) {
        for _ in 0..60 {
            self.key("Tab", 9, "");
            if self.evaluate(&format!("(a => {what})(document.activeElement)")) == true {
                return;
            }
        }
        panic!("no Tab leads to it: {what}");
    }

    /// Presses Enter, which loads a page.
    pub(crate) fn enter(&mut self) {
        self.loading(|browser| browser.key("Enter", 13, "\r"));
    }

    /// Sends the first form of the page as a script of the page would.
    pub(crate) fn submit(&mut self) {
        self.loading(|browser| {
            browser.evaluate("document.forms[0].submit()");
        });
    }

    /// Types a text.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// What the browser complains about: in its console, and of what it has blocked.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.evaluate("1");
        let kinds = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded"];
        let told = self.events.iter().filter(|event| kinds.iter().any(|kind| event["method"] == *kind));
        let told = told.map(|event| event["params"].to_string()).collect();
        self.events.clear();
        told
    }

    /// The roles and names that assistive technology is told, with descriptions.
    pub(crate) fn accessible(&mut self) -> Vec<(String, String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["role"]), text(&node["name"]), text(&node["description"]))).collect()
    }

    /// How wide the window is.
    pub(crate) fn widen(&mut self, width: u32) {
        let metrics = json!({ "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Leaves a picture in the folder that `TOLLGATE_PICTURES` names, for a person.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = env::var_os("TOLLGATE_PICTURES") else { return };
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        fs::write(PathBuf::from(folder).join(format!("{name}.base64")), picture["data"].as_str().unwrap()).unwrap();
    }

    /// As a browser is whose user likes it dark.
    pub(crate) fn darken(&mut self) {
        let dark = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": dark }));
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}
