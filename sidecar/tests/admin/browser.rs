//! The page in a real browser.

use std::collections::HashMap;

use tollgate_sidecar::config::{Key, KeyPart, Limit};

use crate::chromium::Chromium;
use crate::desk::{Desk, header, limit};
use crate::world::{Peer, eventually, from, global, upstream};

/// Three limits, of which two deny and one watches, and some traffic.
fn busy() -> Desk {
    let desk = Desk::start(|config| {
        config.offenders = 10;
        let mut login = limit("login", "2/day", &[KeyPart::Address, header("x-username")]);
        login.line = Some(10);
        login.missing = tollgate_sidecar::config::Missing::Skip;
        let mut client: Limit = limit("client", "28/second", &[KeyPart::Address]);
        client.line = Some(7);
        let mut search = limit("search", "10/second", &[KeyPart::Global]);
        search.key = Key::global();
        search.enforced = "0%".parse().unwrap();
        search.line = Some(14);
        config.limits.extend([client, login, search]);
    });
    for last in 1..=3 {
        let mut client = Peer::of(from([127, 0, 0, last], desk.proxy.address()));
        for _ in 0..4 * last {
            client.ask("GET / HTTP/1.1\r\nhost: a\r\nx-username: <b>s3cr3t</b>\r\n\r\n");
        }
    }
    desk
}

#[test]
fn a_person_reads_it_and_resets_a_key_by_keyboard_alone() {
    let Some(mut browser) = Chromium::start("a_person_reads_it") else { return };
    let desk = busy();
    browser.widen(1000);
    browser.open(&format!("http://{}/", desk.host));
    assert_eq!(browser.complaints(), [""; 0]);
    assert!(browser.text("document.title").starts_with("Denying "));
    assert_eq!(
        browser.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse"),
        "collapse",
        "the style holds"
    );
    let active = "document.scripts.length + [...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length";
    assert_eq!(browser.evaluate(active), 0, "no script");
    assert_eq!(browser.evaluate("performance.getEntriesByType('resource').length"), 0, "nothing else is loaded");
    assert!(!browser.text("document.documentElement.outerHTML").contains("s3cr3t"));

    let mut names: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for (role, name, description) in browser.accessible() {
        names.entry(role).or_default().push((name, description));
    }
    let headings: Vec<_> = names["heading"].iter().map(|(name, _)| &**name).collect();
    assert!(headings[0].starts_with("tollgate"), "{headings:?}");
    assert_eq!(headings[1..], ["Last 15 minutes", "Limits", "Most denied"]);
    for role in ["table", "button", "link", "image"] {
        let unnamed = names.get(role).map(|all| all.iter().filter(|(name, _)| name.is_empty()).count());
        assert_eq!(unnamed.or((role == "image").then_some(0)), Some(0), "each {role} has a name");
    }
    assert_eq!(names["table"].len(), 2);
    assert!(names["button"].iter().all(|(name, _)| name.starts_with("Reset 127.0.0.")), "{:?}", names["button"]);
    let picture = names.iter().find(|(role, _)| role.to_lowercase().contains("image") || role.contains("graphics"));
    let (name, description) = &picture.expect("there is a picture").1[0];
    assert!(name.starts_with("Allowed and denied") && description.contains("/s allowed and "), "{name}: {description}");
    browser.picture("overview");

    // The one that is denied most is the first that can be reset.
    browser.tab_to("a.tagName == 'BUTTON'");
    assert_ne!(browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "none", "the focus is seen");
    let name = browser.text("document.activeElement.getAttribute('aria-label')");
    assert!(name.starts_with("Reset 127.0.0.3 + #") && name.ends_with(" for login"), "{name}");
    browser.enter();
    assert!(browser.text("location.pathname + location.search").starts_with("/key?limit=login&key=127.0.0.3"));
    let text = browser.text("document.body.innerText");
    assert!(text.contains("It was reset ") && text.contains("A request passes now"), "{text}");
    assert_eq!(browser.complaints(), [""; 0]);
    browser.picture("key");
    let mut client = Peer::of(from([127, 0, 0, 3], desk.proxy.address()));
    let mut status = || client.ask("GET / HTTP/1.1\r\nhost: a\r\nx-username: <b>s3cr3t</b>\r\n\r\n").status();
    assert_eq!([status(), status(), status()], [200, 200, 429]);

    // A key is looked up by its value, which then stands nowhere.
    browser.open(&format!("http://{}/limit?name=login", desk.host));
    browser.tab_to("a.name == 'client'");
    browser.write("127.0.0.2");
    browser.tab_to("a.name == 'part-1'");
    browser.write("<b>s3cr3t</b>");
    browser.picture("limit");
    browser.enter();
    let page = browser.text("location.href + document.documentElement.outerHTML");
    assert!(
        page.contains("127.0.0.2 + #") && page.contains("A request passes in") && !page.contains("s3cr3t"),
        "{page}"
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_fits_a_narrow_window_and_a_dark_one() {
    let Some(mut browser) = Chromium::start("it_fits") else { return };
    let desk = busy();
    browser.widen(320);
    for path in ["/", "/limit?name=login", "/key?limit=client&key=127.0.0.1"] {
        browser.open(&format!("http://{}{path}", desk.host));
        assert_eq!(
            browser.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"),
            false,
            "{path}: only tables are scrolled"
        );
    }
    browser.open(&format!("http://{}/", desk.host));
    browser.picture("narrow");
    browser.widen(1000);
    browser.darken();
    browser.open(&format!("http://{}/", desk.host));
    browser.picture("dark");
    assert_eq!(browser.complaints(), [""; 0]);
    // It comes again only if that is asked for, by a link.
    browser.tab_to("a.textContent == '5 s'");
    browser.enter();
    assert_eq!(browser.text("location.search"), "?refresh=5");
}

/// A page of somebody else's, in the browser of the person who looks after the proxy.
#[test]
fn a_page_elsewhere_reads_nothing_and_changes_nothing() {
    let Some(mut browser) = Chromium::start("a_page_elsewhere") else { return };
    let desk = Desk::start(|config| {
        config.limits.push(global("1/day"));
    });
    assert_eq!((desk.through(""), desk.through("")), (200, 429));
    let (port, admin, token) = (desk.address.port(), format!("http://{}", desk.host), desk.token());
    // Its name leads here.
    browser.open(&format!("http://evil.example:{port}/stats"));
    let text = browser.text("document.body.innerText");
    assert!(text.contains("is not a loopback address") && !text.contains("token"), "{text}");
    // Its page is here, and even knows the token.
    let page = format!(
        "<!doctype html><form method=post action='{admin}/reset'><input name=limit value=all><input name=key value='*'>\
         <input name=token value={token}></form><iframe src='{admin}/'></iframe>"
    );
    let elsewhere = upstream(move |stream| {
        let mut peer = Peer::of(stream);
        if let Ok(Some(_)) = peer.read_request() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", page.len());
            let _ = peer.send(format!("{head}{page}"));
        }
    });
    for host in ["evil.example", "127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{}/", elsewhere.port()));
        let complaints = browser.complaints().join("\n");
        assert!(complaints.contains("frame-ancestors"), "{host}: it is in no frame: {complaints}");
        let read = format!("fetch('{admin}/stats').then(answer => answer.text(), error => 'no: ' + error.name)");
        assert_eq!(browser.text(&read), "no: TypeError", "{host}");
        let sent = format!(
            "fetch('{admin}/reset', {{method: 'POST', mode: 'no-cors', credentials: 'include', \
             body: new URLSearchParams({{limit: 'all', key: '*', token: '{token}'}})}}).then(() => 'sent', () => 'sent, and its answer is hidden')"
        );
        assert!(browser.text(&sent).starts_with("sent"), "{host}");
        browser.submit();
        let text = browser.text("document.body.innerText");
        assert!(text.contains("This did not come from this page itself"), "{host}: {text}");
        assert_eq!(desk.through(""), 429, "{host}");
    }
    eventually("the page itself is still there", || desk.get("/").status() == 200);
}
