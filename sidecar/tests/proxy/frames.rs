//! HTTP/2 frame by frame, as no client should speak it, and what RFC 9113 asks of who gets that.

use std::net::SocketAddr;

use crate::world::{Echo, Peer, proxy};

/// A field, uncompressed: HPACK's literal without indexing (RFC 7541, 6.2.2).
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

/// Fields, uncompressed.
fn block<T: AsRef<[u8]>>(fields: &[(T, T)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_ref(), value.as_ref())).collect()
}

/// What a client says at first that asks for one thing over HTTP/2, and opens such a window for each answer.
pub(crate) fn asks_once(window: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    [MAGIC, &frame(SETTINGS, 0, 0, &settings), &asks(1)].concat()
}

/// Frames that each cost a little and ask for nothing, to be sent without end, and what goes before them.
pub(crate) fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let begun = [MAGIC, &settings].concat();
    let open = [&begun[..], &frame(HEADERS, 4, 1, &request("PUT"))].concat();
    // A field of 4,000 bytes that is put into the table once, and then named by one byte each.
    let long = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'y'; 4000]].concat();
    let bomb = frame(HEADERS, END, 1, &[&request("GET")[..], &long, &[0xbe; 12_000]].concat());
    vec![
        ("pings", begun.clone(), frame(PING, 0, 0, &[0; 8])),
        ("settings", begun.clone(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty settings", begun.clone(), settings),
        ("windows", begun.clone(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("priorities", begun.clone(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("unknown frames", begun.clone(), frame(99, 0, 0, &[0; 100])),
        ("empty data", open.clone(), frame(DATA, 0, 1, &[])),
        ("padding", open.clone(), frame(DATA, 8, 1, &[&[200][..], &[0; 200]].concat())),
        ("a field named again and again", begun, bomb),
    ]
}

/// One more request.
pub(crate) fn asks(stream: u32) -> Vec<u8> {
    frame(HEADERS, END, stream, &request("GET"))
}

/// Opens the window of the whole connection so much further.
pub(crate) fn opens(window: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &window.to_be_bytes())
}

/// The fields of a request that is well formed.
fn request(method: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")])
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    [&len.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END: u8 = 5; // of the headers, and of the stream

/// A field without indexing, up to its value: the name is `x-test` in Huffman's code.
const HUFFMAN_NAME: &[u8] = b"\x00\x85\xf2\xb2\x4a\x84\xff";

/// What comes back first that is an answer: a response (its status if HPACK has it in its table), or an error.
#[derive(Debug, PartialEq)]
enum Back {
    Status(u16),
    Other,
    Reset(u32),
    GoAway(u32),
    Closed,
}

const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn raw(address: SocketAddr, frames: &[u8]) -> Back {
    bytes(address, &[MAGIC, &frame(SETTINGS, 0, 0, &[]), frames].concat())
}

/// The same for a connection that begins otherwise.
fn bytes(address: SocketAddr, bytes: &[u8]) -> Back {
    let mut peer = Peer::connect(address);
    let _ = peer.send(bytes);
    loop {
        let Ok(head) = peer.take(9) else { return Back::Closed };
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Ok(payload) = peer.take(len) else { return Back::Closed };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            HEADERS => {
                return match payload.iter().find(|byte| **byte & 0xe0 != 0x20) {
                    Some(0x88) => Back::Status(200),
                    Some(0x8c) => Back::Status(400),
                    Some(0x8e) => Back::Status(500),
                    _ => Back::Other,
                };
            }
            RST_STREAM => return Back::Reset(code(0)),
            GOAWAY => return Back::GoAway(code(4)),
            _ => {}
        }
    }
}

#[test]
fn http2_that_is_malformed_reaches_nobody() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    type Field<'a> = (&'a [u8], &'a [u8]);
    let method: Field<'_> = (b":method", b"GET");
    let scheme: Field<'_> = (b":scheme", b"http");
    let path: Field<'_> = (b":path", b"/");
    let authority: Field<'_> = (b":authority", b"a");
    let with = |more: &[Field<'_>]| block(&[&[method, scheme, path, authority][..], more].concat());
    let only = |fields: &[Field<'_>]| block(fields);
    let good = [
        with(&[]),
        with(&[(b"x", b"y")]),
        with(&[(b"x", b"")]),
        with(&[(b"x", b"a\tb")]),
        with(&[(b"x", b"\xc3\xa4")]),
        with(&[(b"te", b"trailers")]),
        with(&[(b"host", b"a")]),
        with(&[(b"content-length", b"0")]),
        only(&[method, scheme, path, (b"host", b"a")]),
        only(&[(b":method", b"OPTIONS"), scheme, (b":path", b"*"), authority]),
        only(&[scheme, path, authority, method]),
        only(&[method, scheme, (b":path", b"/a?b=c"), authority]),
    ];
    for block in &good {
        assert_eq!(raw(proxy.address(), &frame(HEADERS, END, 1, block)), Back::Status(200), "{}", block.escape_ascii());
        assert_eq!(echo.take().len(), 1);
    }
    let bad = [
        // RFC 9113, 8.2.1 and 8.2.2: names, values, and what is for a hop.
        with(&[(b"X", b"y")]),
        with(&[(b"", b"y")]),
        with(&[(b"x y", b"z")]),
        with(&[(b"x:", b"z")]),
        with(&[(b"x\0", b"z")]),
        with(&[(b"x\r\n", b"z")]),
        with(&[(b"\xc3\xa4", b"z")]),
        with(&[(b"x", b"a\0b")]),
        with(&[(b"x", b"a\rb")]),
        with(&[(b"x", b"a\nb")]),
        with(&[(b"x", b"a\r\nHost: evil")]),
        with(&[(b"x", b"a\x07b")]),
        with(&[(b"x", b"a\x7fb")]),
        with(&[(b"x", b" a")]),
        with(&[(b"x", b"a ")]),
        with(&[(b"x", b"\ta")]),
        with(&[(b"connection", b"close")]),
        with(&[(b"connection", b"x")]),
        with(&[(b"keep-alive", b"1")]),
        with(&[(b"proxy-connection", b"x")]),
        with(&[(b"transfer-encoding", b"chunked")]),
        with(&[(b"upgrade", b"websocket")]),
        with(&[(b"te", b"gzip")]),
        with(&[(b"te", b"trailers, gzip")]),
        with(&[(b"host", b"b")]),
        with(&[(b"host", b"a"), (b"host", b"a")]),
        with(&[(b"content-length", b"5")]),
        with(&[(b"content-length", b"0"), (b"content-length", b"5")]),
        with(&[(b"content-length", b"x")]),
        with(&[(b"content-length", b"-1")]),
        // 8.3 and 8.3.1: pseudo-header fields.
        with(&[(b":path", b"/")]),
        with(&[(b":method", b"GET")]),
        with(&[(b":scheme", b"http")]),
        with(&[(b":authority", b"a")]),
        with(&[(b":status", b"200")]),
        with(&[(b":unknown", b"x")]),
        with(&[(b":protocol", b"websocket")]),
        with(&[(b"x", b"y"), (b":authority", b"a")]),
        only(&[scheme, path, authority]),
        only(&[method, path, authority]),
        only(&[method, scheme, authority]),
        only(&[method, scheme, path]),
        only(&[]),
        only(&[method, scheme, (b":path", b""), authority]),
        only(&[method, scheme, (b":path", b"a"), authority]),
        only(&[method, scheme, (b":path", b"*"), authority]),
        only(&[method, scheme, (b":path", b"/ b"), authority]),
        only(&[method, scheme, (b":path", b"/\r\nx"), authority]),
        only(&[method, scheme, (b":path", b"/\0"), authority]),
        only(&[method, scheme, (b":path", b"/\x7f"), authority]),
        only(&[method, scheme, (b":path", b"/\xc3\xa4"), authority]),
        only(&[method, scheme, (b":path", b"/%00"), authority]),
        only(&[method, scheme, (b":path", b"http://b/"), authority]),
        only(&[method, (b":scheme", b""), path, authority]),
        only(&[method, (b":scheme", b"ftp"), path, authority]),
        only(&[method, (b":scheme", b"http://b/"), path, authority]),
        only(&[(b":method", b""), scheme, path, authority]),
        only(&[(b":method", b"G T"), scheme, path, authority]),
        only(&[(b":method", b"GET / HTTP/1.1\r\n"), scheme, path, authority]),
        only(&[(b":method", b"TRACE"), scheme, path, authority]),
        only(&[(b":method", b"CONNECT"), (b":authority", b"a:80")]),
        only(&[(b":method", b"CONNECT"), scheme, path, authority]),
        only(&[method, scheme, path, (b":authority", b"")]),
        only(&[method, scheme, path, (b":authority", b"user@a")]),
        only(&[method, scheme, path, (b":authority", b"a/b")]),
        only(&[method, scheme, path, (b":authority", b"a b")]),
        only(&[method, scheme, path, (b":authority", b"a:b")]),
        only(&[method, scheme, path, (b":authority", b"a\r\nx")]),
    ];
    let mut wrong = Vec::new();
    for block in &bad {
        let back = raw(proxy.address(), &frame(HEADERS, END, 1, block));
        let seen = echo.take();
        if back == Back::Status(200) || back == Back::Closed || !seen.is_empty() {
            wrong.push(format!("{}: {back:?} {seen:?}", block.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn http2_frames_that_are_wrong_end_the_stream_or_the_connection() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let request = request("POST");
    let open = frame(HEADERS, 4, 1, &request);
    let longer: Vec<u8> = [&request[..], &literal(b"content-length", b"5")].concat();
    let trailers = literal(b"content-length", b"5");
    let trailing = |name: &[u8], value: &[u8]| [&open[..], &frame(HEADERS, END, 1, &literal(name, value))].concat();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("data on stream 0", frame(DATA, 1, 0, b"x")),
        ("data on a stream that is idle", frame(DATA, 1, 1, b"x")),
        ("headers on an even stream", frame(HEADERS, END, 2, &request)),
        ("headers on stream 0", frame(HEADERS, END, 0, &request)),
        ("continuation of nothing", frame(CONTINUATION, 4, 1, &request)),
        ("headers that are not continued", [frame(HEADERS, 1, 1, &request), frame(DATA, 1, 1, b"")].concat()),
        ("another frame between", [frame(HEADERS, 1, 1, &request), frame(PING, 0, 0, &[0; 8])].concat()),
        ("a block that cannot be read", frame(HEADERS, END, 1, &[0xff; 20])),
        ("padding longer than the frame", frame(HEADERS, END | 8, 1, &[200, 0])),
        ("a stream below the last", [frame(HEADERS, END, 5, &request), frame(HEADERS, END, 3, &request)].concat()),
        ("a frame that is too long", frame(DATA, 1, 1, &[0; 20_000])),
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("settings: a window too large", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("settings: a frame size too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("settings: push that is neither", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6])),
        ("ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a window opened by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window opened too far", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a promise from a client", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])),
        ("fewer bytes than promised", [frame(HEADERS, 4, 1, &longer), frame(DATA, 1, 1, b"hey")].concat()),
        ("more bytes than promised", [frame(HEADERS, 4, 1, &longer), frame(DATA, 1, 1, b"hello!")].concat()),
        (
            "a length in the trailers",
            [open.clone(), frame(DATA, 0, 1, b"x"), frame(HEADERS, END, 1, &trailers)].concat(),
        ),
        ("trailers that do not end", [open.clone(), frame(HEADERS, 4, 1, &literal(b"x", b"y"))].concat()),
        ("a pseudo-header field in the trailers", trailing(b":path", b"/b")),
        ("an upper case letter in the trailers", trailing(b"X", b"y")),
        ("a field for the hop in the trailers", trailing(b"connection", b"close")),
        // RFC 9113, 5.1: what a stream in each state may not get.
        ("data after the end", [frame(HEADERS, END, 1, &request), frame(DATA, 1, 1, b"x")].concat()),
        ("headers after the end", [frame(HEADERS, END, 1, &request), frame(HEADERS, END, 1, &request)].concat()),
        ("a window for a stream that is idle", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("a window of a stream opened by 0", [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        (
            "a window of a stream opened too far",
            [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
        ),
        // 6: sizes, streams and paddings of each frame.
        ("a window of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a reset of 3 bytes", [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        ("a reset of stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("a priority on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("a priority of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4])),
        ("a goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("a goaway of 4 bytes", frame(GOAWAY, 0, 0, &[0; 4])),
        ("data that are all padding and more", [open.clone(), frame(DATA, 9, 1, &[5, b'x'])].concat()),
        ("data without the length of the padding", [open.clone(), frame(DATA, 9, 1, &[])].concat()),
        ("headers with half a priority", frame(HEADERS, END | 0x20, 1, &[0, 0, 0])),
        ("headers that are too long", frame(HEADERS, END, 1, &[0x82; 20_000])),
        ("settings: a frame size too large", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0])),
        ("a continuation on another stream", [frame(HEADERS, 1, 1, &request), frame(CONTINUATION, 4, 3, &[])].concat()),
        ("a continuation after the last", [open.clone(), frame(CONTINUATION, 4, 1, &[])].concat()),
        ("a promise in the middle", [open.clone(), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])].concat()),
        // RFC 7541: blocks that nobody can read.
        ("field number 0", frame(HEADERS, END, 1, &[&request[..], &[0x80]].concat())),
        ("a field that is in no table", frame(HEADERS, END, 1, &[&request[..], &[0xff, 0x50]].concat())),
        (
            "a table that is too large",
            frame(HEADERS, END, 1, &[&[0x3f, 0xe1, 0xff, 0xff, 0x07], &request[..]].concat()),
        ),
        ("a table resized too late", frame(HEADERS, END, 1, &[&request[..], &[0x20]].concat())),
        ("a name longer than the block", frame(HEADERS, END, 1, &[&request[..], &[0, 0x7f, 1, b'x']].concat())),
        ("a number without end", frame(HEADERS, END, 1, &[&request[..], &[0xff; 30]].concat())),
        (
            "huffman: padding of 8 bits",
            frame(HEADERS, END, 1, &[&request[..], HUFFMAN_NAME, b"\x84\x49\x50\x9f\xff"].concat()),
        ),
        (
            "huffman: padding of zeros",
            frame(HEADERS, END, 1, &[&request[..], HUFFMAN_NAME, b"\x83\x49\x50\x90"].concat()),
        ),
        (
            "huffman: the end within",
            frame(HEADERS, END, 1, &[&request[..], HUFFMAN_NAME, b"\x87\x49\x51\xff\xff\xff\xfa\x7f"].concat()),
        ),
        // More than may be under way at once, and more than a head may have, in how many frames ever.
        ("too many streams", (0..200).flat_map(|index| frame(HEADERS, 4, 1 + 2 * index, &request)).collect()),
        (
            "continuations without end",
            [frame(HEADERS, 1, 1, &request), frame(CONTINUATION, 0, 1, &literal(b"x", b"y")).repeat(20_000)].concat(),
        ),
        (
            "empty continuations without end",
            [frame(HEADERS, 1, 1, &request), frame(CONTINUATION, 0, 1, &[]).repeat(20_000)].concat(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, frames) in &rows {
        let back = raw(proxy.address(), frames);
        let seen = echo.take();
        // A field that may not be a trailer may be dropped, and the request goes on. (So does h2 with pseudo-header fields there, which
        // RFC 9113 would have refused, and tells nobody.)
        let is_in_trailers = matches!(*what, "a length in the trailers" | "a pseudo-header field in the trailers");
        let dropped = is_in_trailers && !seen.iter().any(|seen| seen.contains("content-length") || seen.contains("/b"));
        if !dropped && !matches!(back, Back::Reset(_) | Back::GoAway(1..)) {
            wrong.push(format!("{what}: {back:?} {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        raw(proxy.address(), &[frame(99, 0, 0, b"unknown"), frame(HEADERS, END, 1, &request)].concat()),
        Back::Status(200)
    );
}

/// A client that asks and opens no window for the answer holds the upstream no longer than one that does not read.
#[test]
fn a_stream_whose_window_stays_shut_is_ended() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        config.deadlines.response = std::time::Duration::from_millis(50);
        config.deadlines.idle = std::time::Duration::from_millis(50);
    });
    let request = request("GET");
    let mut peer = Peer::connect(proxy.address());
    // The initial window of streams: 0.
    let frames = [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(HEADERS, END, 1, &request)].concat();
    peer.send([MAGIC, &frames].concat()).unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&RST_STREAM) {
        let head = peer.take(9).expect("a frame");
        peer.take(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).unwrap();
        seen.push(head[3]);
    }
    assert!(seen.contains(&HEADERS) && !seen.contains(&DATA), "{seen:?}");
}

/// RFC 9113, 3.4: the preface ends with settings, or it is none.
#[test]
fn a_preface_without_settings_is_none() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let request = request("GET");
    let request = frame(HEADERS, END, 1, &request);
    for (what, first) in [
        ("headers", request.clone()),
        ("a ping", frame(PING, 0, 0, &[0; 8])),
        ("an acknowledgement", frame(SETTINGS, 1, 0, &[])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("no frame", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ] {
        let back = bytes(proxy.address(), &[MAGIC, &first, &request].concat());
        assert_eq!((back, echo.take().len()), (Back::GoAway(1), 0), "{what}");
    }
    // In whatever pieces it comes.
    let mut peer = Peer::connect(proxy.address());
    for byte in [MAGIC, &frame(SETTINGS, 0, 0, &[]), &request].concat() {
        peer.send([byte]).unwrap();
    }
    crate::world::eventually("the request goes on", || echo.take().len() == 1);
}

/// Many streams that are opened and reset at once cost work, and nobody waits for the answers (CVE-2023-44487).
#[test]
fn a_rapid_reset_ends_the_connection() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let request = request("GET");
    let mut frames = Vec::new();
    for index in 0..5000u32 {
        let stream = 1 + 2 * index;
        frames.extend(frame(HEADERS, END, stream, &request));
        frames.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    assert!(matches!(raw(proxy.address(), &frames), Back::GoAway(_)));
}

/// A WebSocket over HTTP/2 (RFC 8441) is not offered, so clients ask for one over HTTP/1.1. One that asks all the same is told that
/// this is malformed, and its other requests go on.
#[test]
fn an_extended_connect_is_not_offered_and_resets_its_stream() {
    const CONNECT_PROTOCOL: u16 = 8;
    let echo = Echo::start();
    let proxy = proxy(echo.address, |_| {});
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    let ask = block(&fields);
    let get = request("GET");
    let mut peer = Peer::connect(proxy.address());
    let frames = [&frame(SETTINGS, 0, 0, &[])[..], &frame(HEADERS, 4, 1, &ask), &frame(HEADERS, END, 3, &get)].concat();
    peer.send([MAGIC, &frames].concat()).unwrap();
    let (mut reset, mut answered) = (None, false);
    while reset.is_none() || !answered {
        let head = peer.take(9).unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, stream) = (peer.take(len).unwrap(), u32::from_be_bytes(head[5..9].try_into().unwrap()));
        match head[3] {
            SETTINGS => {
                let offers = payload.chunks(6).any(|setting| setting[..2] == CONNECT_PROTOCOL.to_be_bytes());
                assert!(!offers, "{payload:?}");
            }
            RST_STREAM => reset = Some((stream, payload[3])),
            HEADERS => answered |= stream == 3 && payload.contains(&0x88),
            _ => {}
        }
    }
    assert_eq!(reset, Some((1, 1)), "PROTOCOL_ERROR");
    assert_eq!(echo.take().len(), 1);
}
